"""The reference forward against what the official implementations output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kcircuits.graph import Graph
from kcircuits.model.forward import forward, forward_senders, masked_forward
from kcircuits.model.loading import load_model
from kcircuits.model.spec import ModelSpec
from kcircuits.model.transforms import with_folded_value_biases
from tests.golden import GOLDEN, acdc_golden, eap_golden

MODELS = ["gpt2", "llama", "llama_gqa"]
UNGROUPED = ["gpt2", "llama"]  # else circuits, and exact scores, of query heads' own keys and values differ
CASES = [
    pytest.param(name, case, id=f"{name}-{case['ablation']}-{case['threshold']}-{case['fold_value_biases']}")
    for name in MODELS
    for case in acdc_golden(name)["cases"]
]


@pytest.fixture(scope="module")
def specs() -> dict[str, ModelSpec]:
    return {name: load_model(GOLDEN / name).spec for name in MODELS}


def mask_of(graph: Graph, edges: Iterable[tuple[str, str]]) -> Tensor:
    mask = torch.zeros(graph.valid.shape, dtype=torch.bool)
    for sender, receiver in edges:
        mask[graph.sender_index(sender), graph.receiver_index(receiver)] = True
    return mask


def everywhere(tokens: Tensor) -> Tensor:
    return torch.ones_like(tokens, dtype=torch.bool)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_metric_of_acdc_circuits(specs, name, case):
    golden = acdc_golden(name)
    spec = with_folded_value_biases(specs[name]) if case["fold_value_biases"] else specs[name]
    clean, corrupt = torch.tensor([golden["clean_ids"]]), torch.tensor([golden["corrupt_ids"]])
    ablated = None
    if case["ablation"] == "corrupt":
        ablated = forward_senders(spec, corrupt, everywhere(corrupt)).senders

    def metric(logits: Tensor) -> float:
        return -logits[0, -1].log_softmax(dim=-1)[golden["answer_id"]].item()

    edges = mask_of(spec.graph, ((sender, receiver) for sender, receiver, _ in case["edges"]))
    assert metric(forward(spec, clean, everywhere(clean))) == pytest.approx(case["full_metric"], abs=1e-4)
    circuit = metric(masked_forward(spec, clean, everywhere(clean), edges, ablated))
    assert circuit == pytest.approx(case["circuit_metric"], abs=1e-4)


class TestEdgeAttribution:
    """Eight prompt pairs in one batch."""

    @pytest.fixture(params=MODELS)
    def name(self, request: pytest.FixtureRequest) -> str:
        return request.param

    @pytest.fixture
    def spec(self, specs: dict[str, ModelSpec], name: str) -> ModelSpec:
        return specs[name]

    @pytest.fixture
    def golden(self, name: str) -> dict[str, Any]:
        return eap_golden(name)

    @pytest.fixture
    def clean(self, golden: dict[str, Any]) -> Tensor:
        return torch.from_numpy(golden["clean"])

    @pytest.fixture
    def ablated(self, spec: ModelSpec, golden: dict[str, Any]) -> dict[str, Tensor]:
        corrupt = torch.from_numpy(golden["corrupt"])
        # The official zero ablation of `input` takes the token embedding away and leaves the position's.
        zero = torch.zeros(len(spec.graph.senders), 1, corrupt.shape[1], spec.width)
        if spec.positions is not None:
            zero[0, 0] = spec.positions[: corrupt.shape[1]]
        return {"patching": forward_senders(spec, corrupt, everywhere(corrupt)).senders, "zero": zero}

    @staticmethod
    def metric(logits: Tensor, golden: dict[str, Any]) -> Tensor:
        """−(logit[answer] − logit[wrong]) per prompt, [N]."""
        answer, wrong = torch.from_numpy(golden["labels"]).unbind(dim=1)
        rows = torch.arange(len(answer))
        return logits[rows, -1, wrong] - logits[rows, -1, answer]

    def test_metric_of_plain_runs(self, spec, golden):
        for run in ("clean", "corrupt"):
            tokens = torch.from_numpy(golden[run])
            metric = self.metric(forward(spec, tokens, everywhere(tokens)), golden)
            np.testing.assert_allclose(metric, golden[f"{run}_metric"], atol=1e-4)

    @pytest.mark.parametrize("name", UNGROUPED)
    @pytest.mark.parametrize("circuit", ["eap_top20", "eap_top60", "eap_top150", "eap_ig_inputs_5_top150"])
    @pytest.mark.parametrize("ablation", ["patching", "zero"])
    def test_metric_of_circuits(self, spec, golden, clean, ablated, circuit, ablation):
        pairs = [edge.split("->") for edge in golden[f"{circuit}_edges"]]
        edges = mask_of(spec.graph, pairs)
        logits = masked_forward(spec, clean, everywhere(clean), edges, ablated[ablation])
        # The official run subtracts what is absent from a full stream; where nothing should be left, RMSNorm
        # blows up the rounding errors.
        np.testing.assert_allclose(self.metric(logits, golden), golden[f"{circuit}_{ablation}"], atol=5e-4)

    @pytest.mark.parametrize(("scores", "ablation"), [("eap", "patching"), ("eap_zero", "zero")])
    def test_first_order_scores(self, spec, golden, clean, ablated, scores, ablation):
        """(ã − a) · ∂metric/∂x is minus the derivative by the weight of the edge."""
        weights = torch.ones(spec.graph.valid.shape, requires_grad=True)
        logits = masked_forward(spec, clean, everywhere(clean), weights, ablated[ablation])
        (gradient,) = torch.autograd.grad(self.metric(logits, golden).mean(), weights)
        expected = 8 * grouped(golden, golden[scores], spec.graph)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(-gradient.numpy(), expected, atol=1e-4)

    @pytest.mark.parametrize("name", UNGROUPED)
    def test_exact_scores(self, spec, golden, clean, ablated):
        exact = np.zeros(spec.graph.valid.shape, dtype=np.float32)
        for sender, receiver in np.argwhere(spec.graph.valid):
            edges = torch.ones(spec.graph.valid.shape, dtype=torch.bool)
            edges[sender, receiver] = False
            logits = masked_forward(spec, clean, everywhere(clean), edges, ablated["patching"])
            exact[sender, receiver] = self.metric(logits, golden).mean() - golden["clean_metric"].mean()
        np.testing.assert_allclose(exact, grouped(golden, golden["exact"], spec.graph), atol=1e-4)


def grouped(golden: dict[str, Any], scores: np.ndarray, graph: Graph) -> np.ndarray:
    """Scores of the official graph on ours [S, R]: keys and values summed over the query heads of a group."""
    senders = [list(golden["src"]).index(sender) for sender in graph.senders]
    columns = list(golden["dst"])
    per_receiver = [
        [
            columns.index(node + receiver[receiver.find("<") :] if "<" in receiver else node)
            for node in graph.nodes_of(receiver)
        ]
        for receiver in graph.receivers
    ]
    valid = np.where(golden["real_edges"], scores, 0.0)[senders]
    return np.stack([valid[:, ungrouped].sum(axis=1) for ungrouped in per_receiver], axis=1)
