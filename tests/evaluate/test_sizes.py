"""Curves over sizes, against one masked run per size and areas by hand."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.data.metrics import faithfulness
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import MIB_FRACTIONS, SizeCurve, random_curve, size_curve
from kcircuits.graph import Graph
from kcircuits.model.loading import Model, load_model
from kcircuits.task import Task
from tests.circuits import circuit_of
from tests.tasks import random_prompts_of, reference_metric, reference_runs

PROMPTS = random_prompts_of([4, 3, 5], seed=21)
FRACTIONS = (0.001, 0.1, 0.4, 1.0)


@dataclass(frozen=True)
class ScoresOf:
    """The part of `kcircuits.scores.Scores` that a curve reads."""

    graph: Graph
    matrix: np.ndarray
    model: dict[str, Any]
    settings: dict[str, Any]

    def check_model(self, identity: dict[str, Any]) -> None:
        circuit_of(self.graph, model=self.model).check_model(identity)


def strongest(graph: Graph, matrix: np.ndarray, sizes: list[int], **_: bool) -> list[np.ndarray]:
    order = np.argsort(-np.abs(matrix).ravel(), kind="stable")
    masks = [np.zeros_like(graph.valid) for _ in sizes]
    for mask, size in zip(masks, sizes, strict=True):
        mask.flat[order[:size]] = True
    return masks


@pytest.fixture(scope="module")
def model(tiny_folder) -> Model:
    return load_model(tiny_folder("llama_gqa"))


@pytest.fixture
def selecting(monkeypatch) -> list[dict[str, Any]]:
    """A selection without pruning; returns what it was asked for."""
    asked: list[dict[str, Any]] = []

    def select_sizes(graph, matrix, sizes, **how):
        asked.append({"sizes": sizes, **how})
        return strongest(graph, matrix, sizes)

    monkeypatch.setitem(sys.modules, "kcircuits.scores.selection", SimpleNamespace(select_sizes=select_sizes))
    return asked


def scores_of(model: Model, **settings: Any) -> ScoresOf:
    graph = model.spec.graph
    matrix = np.random.default_rng(2).normal(size=graph.valid.shape).astype(np.float32) * graph.valid
    return ScoresOf(graph, matrix, model.identity, settings)


def reference(model: Model, task: Task, mask: np.ndarray) -> np.ndarray:
    return reference_metric(model.spec, task)(reference_runs(model.spec, task)(mask)).double().numpy()


@pytest.mark.parametrize("memory", [1, "1GiB"])
def test_every_size(model, selecting, memory):
    scores = scores_of(model, ablation="corrupt", metric="logit-diff")
    curve = size_curve(model, Task.as_found(scores, PROMPTS), scores, fractions=FRACTIONS, memory=memory)
    task, graph = Task(PROMPTS, "corrupt", "logit-diff"), scores.graph
    sizes = [int(fraction * graph.num_edges) for fraction in FRACTIONS]
    assert sizes[0] == 0  # a graph so small that the smallest circuit is empty
    assert curve.num_edges == tuple(sizes)
    assert selecting == [{"sizes": sizes, "absolute": True, "greedy": False}]
    expected = np.stack([reference(model, task, mask) for mask in strongest(graph, scores.matrix, sizes)])
    assert curve.metric == pytest.approx(expected, abs=1e-4)
    full, empty = reference(model, task, graph.valid).mean(), expected[0].mean()
    assert curve.faithfulness == pytest.approx(
        [faithfulness(full, value, empty) for value in expected.mean(axis=1)], abs=1e-4
    )
    assert (curve.faithfulness[0], curve.faithfulness[-1]) == pytest.approx((0, 1), abs=1e-4)


def test_how_edges_are_selected_and_measured_can_be_said(model, selecting):
    scores = scores_of(model)
    own = size_curve(
        model, Task.as_found(scores, PROMPTS), scores, fractions=FRACTIONS, absolute=False, greedy=True
    )
    assert selecting[0]["absolute"] is False
    assert selecting[0]["greedy"] is True
    assert own.full == pytest.approx(reference(model, Task(PROMPTS, "zero"), scores.graph.valid), abs=1e-4)
    given_kl = size_curve(
        model, Task.as_found(scores, PROMPTS, ablation="corrupt", metric="kl"), scores, fractions=FRACTIONS
    )
    zero = np.zeros_like(scores.graph.valid)
    assert given_kl.empty == pytest.approx(reference(model, Task(PROMPTS, "corrupt", "kl"), zero), abs=1e-4)


def test_random_circuits_of_the_same_sizes(model):
    graph, task = model.spec.graph, Task(PROMPTS, "corrupt", "kl")
    curve = random_curve(
        model,
        Task.as_found(scores_of(model, ablation="corrupt", metric="kl"), PROMPTS),
        scores_of(model, ablation="corrupt", metric="kl"),
        seeds=[3, 8],
        fractions=FRACTIONS,
    )
    sizes = [int(fraction * graph.num_edges) for fraction in FRACTIONS]
    assert curve.num_edges == tuple(sizes)
    for index, size in enumerate(sizes[1:], start=1):
        masks = [random_connected_mask(graph, size, np.random.default_rng(seed)) for seed in (3, 8)]
        expected = np.mean([reference(model, task, mask) for mask in masks], axis=0)
        assert curve.metric[index] == pytest.approx(expected, abs=1e-4)


def curve_of(fractions: list[float], recovered: list[float]) -> SizeCurve:
    """A curve of these faithfulnesses: the full model has 0 and the empty circuit 1 on both prompts."""
    metric = 1 - np.array(recovered)[:, None] * [0.5, 1.5]
    return SizeCurve(tuple(fractions), tuple(range(len(fractions))), np.zeros(2), np.ones(2), metric)


@given(
    st.lists(st.integers(1, 1000), min_size=2, max_size=12, unique=True).map(sorted),
    st.data(),
)
def test_areas(thousandths, data):
    fractions = [thousandth / 1000 for thousandth in thousandths]
    recovered = data.draw(st.lists(st.floats(-2, 3), min_size=len(fractions), max_size=len(fractions)))
    curve = curve_of(fractions, recovered)
    assert curve.faithfulness == pytest.approx(recovered, abs=1e-12)
    cpr = sum(
        (fractions[i + 1] - fractions[i]) * (recovered[i] + recovered[i + 1]) / 2
        for i in range(len(fractions) - 1)
    )
    away = [abs(1 - f) for f in recovered]
    cmd = sum(
        (fractions[i + 1] - fractions[i]) * (away[i] + away[i + 1]) / 2 for i in range(len(fractions) - 1)
    )
    assert curve.cpr == pytest.approx(cpr, abs=1e-9)
    assert curve.cmd == pytest.approx(cmd, abs=1e-9)


def test_the_full_model_at_every_size():
    perfect = curve_of(list(MIB_FRACTIONS), [1.0] * len(MIB_FRACTIONS))
    assert (perfect.cpr, perfect.cmd) == pytest.approx((0.999, 0))


def test_without_a_range_there_are_no_areas():
    flat = SizeCurve((0.1, 1.0), (1, 2), np.ones(2), np.ones(2), np.ones((2, 2)))
    assert flat.faithfulness == (None, None)
    assert flat.cpr is flat.cmd is None


def test_on_some_prompts():
    assert curve_of([0.1, 1.0], [0.5, 1.0]).on([1]).faithfulness == pytest.approx((0.75, 1.5))


def test_json():
    curve = curve_of([0.5, 1.0], [0.5, 1.0])
    document = json.loads(json.dumps(curve.to_json(), allow_nan=False))
    assert document == curve.to_json()
    assert (document["cpr"], document["cmd"]) == pytest.approx((0.375, 0.125))


@pytest.mark.parametrize(
    "fractions", [[], [0.5], [0.0, 0.5], [0.5, 0.5], [0.5, 0.1], [0.5, 1.5], [0.1, float("nan")]]
)
def test_bad_fractions(model, selecting, fractions):
    with pytest.raises(KCircuitsError, match="fractions must be at least two, rising, above 0 and at most 1"):
        size_curve(model, Task.as_found(scores_of(model), PROMPTS), scores_of(model), fractions=fractions)


def test_bad_input(model, selecting, tiny_folder):
    with pytest.raises(KCircuitsError, match="use the model that it was found in"):
        size_curve(
            load_model(tiny_folder("llama")), Task.as_found(scores_of(model), PROMPTS), scores_of(model)
        )
    with pytest.raises(KCircuitsError, match="at least one seed"):
        random_curve(model, Task.as_found(scores_of(model), PROMPTS), scores_of(model), seeds=[])
    with pytest.raises(KCircuitsError, match="each of seeds must be a whole number, at least 0; got -1"):
        random_curve(model, Task.as_found(scores_of(model), PROMPTS), scores_of(model), seeds=[-1])


def test_with_real_scores_and_selection(model):
    scores_module = pytest.importorskip("kcircuits.scores")
    selection = pytest.importorskip("kcircuits.scores.selection")
    given = scores_of(model, ablation="corrupt", metric="kl")
    scores = scores_module.Scores(
        graph=given.graph, model=given.model, method="eap", settings=given.settings, matrix=given.matrix
    )
    curve = size_curve(model, Task.as_found(scores, PROMPTS), scores, fractions=FRACTIONS)
    sizes = [int(fraction * given.graph.num_edges) for fraction in FRACTIONS]
    masks = selection.select_sizes(given.graph, given.matrix, sizes)
    assert curve.num_edges == tuple(int(mask.sum()) for mask in masks)
    for row, mask in zip(curve.metric, masks, strict=True):
        assert row == pytest.approx(reference(model, Task(PROMPTS, "corrupt", "kl"), mask), abs=1e-4)
