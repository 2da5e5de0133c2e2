"""Every method works without options: what is derived from the task, and what is said about it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import kcircuits as kc
from kcircuits.data.metrics import faithfulness
from kcircuits.discovery import METHODS
from kcircuits.discovery.defaults import FAITHFULNESS, FRACTIONS, THRESHOLD_SHARE, explain_derived
from kcircuits.errors import KCircuitsError, KCircuitsWarning
from kcircuits.model.loading import Model
from kcircuits.scores.selection import select_sizes
from kcircuits.task import Task
from tests.circuits import identity_for
from tests.models import tiny_spec
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([5, 4])


@pytest.fixture(scope="module")
def model() -> Model:
    spec = tiny_spec("llama_gqa")
    return Model(spec, None, identity_for(spec.graph))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_finds_a_circuit_without_options(model, name):
    """A circuit that is better than none; or a warning that says what to try."""
    task = Task(PROMPTS, metric="kl" if name == "eap-ig-inputs" else "nll")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        circuit = kc.discover(model, task, METHODS[name]())
    reached = faithfulness(*(circuit.metric[run] for run in ("full", "circuit", "empty")))
    assert circuit.edges
    assert reached > 0 or any("try" in str(each.message) for each in said)
    if METHODS[name].scores_all_edges:
        assert reached >= FAITHFULNESS - 1e-4


def test_acdc_takes_its_threshold_from_the_range(model):
    task = Task(PROMPTS)
    found = kc.discover(model, task, kc.Acdc())
    threshold = THRESHOLD_SHARE * abs(found.metric["empty"] - found.metric["full"])
    assert found.settings["threshold"] == pytest.approx(threshold, rel=1e-6)
    again = kc.discover(model, task, kc.Acdc(threshold=found.settings["threshold"]))
    assert (again.edges, again.metric) == (found.edges, found.metric)
    assert "derived" not in again.settings
    (line,) = explain_derived(found.settings)
    assert line.startswith(f"threshold {threshold:.4g}: 1% of the range of nll, ")
    assert explain_derived(again.settings) == []


def test_the_smallest_faithful_size_is_selected(model):
    task = Task(PROMPTS)
    found = kc.discover(model, task, kc.EapIgActivations())
    scores = kc.attribute(model, task, kc.EapIgActivations())
    sizes = sorted({max(1, int(share * model.spec.graph.num_edges)) for share in FRACTIONS})
    assert found.settings["top_n"] in sizes
    for size, mask in zip(sizes, select_sizes(scores.graph, scores.matrix, sizes), strict=True):
        if size == found.settings["top_n"]:
            assert (found.mask() == mask).all()
            break
        if mask.any():
            smaller = kc.evaluate(model, task, scores.select(top_n=size), random_circuits=0)
            assert smaller.faithfulness < FAITHFULNESS
    assert found.settings["derived"].keys() == {"top_n"}


def test_a_circuit_of_most_edges_is_said_to_be_one(model, monkeypatch):
    """Scores of chance: only the full graph is faithful."""
    drawn = np.random.default_rng(0).standard_normal(model.spec.graph.valid.shape)
    monkeypatch.setattr(kc.Eap, "scores", lambda *_: np.where(model.spec.graph.valid, drawn, 0))
    monkeypatch.setattr("kcircuits.discovery.defaults.FAITHFULNESS", 0.9999)
    with pytest.warns(KCircuitsWarning, match=r"scores of eap, a circuit needs .*: try the method acdc, or"):
        kc.discover(model, Task(PROMPTS), kc.Eap())


def test_without_a_range_nothing_is_derived(model, monkeypatch):
    monkeypatch.setattr(
        "kcircuits.discovery.defaults.measure", lambda spec, task, masks, memory: [2.0] * len(masks)
    )
    with pytest.raises(KCircuitsError, match="no threshold can be derived from its range: give a threshold"):
        kc.discover(model, Task(PROMPTS), kc.Acdc())
    with pytest.raises(KCircuitsError, match="no size can be derived from it: give a top_n or a threshold"):
        kc.discover(model, Task(PROMPTS), kc.Eap())


def test_a_selection_without_a_size_names_one(model):
    scores = kc.attribute(model, Task(PROMPTS), kc.Eap())
    with pytest.raises(KCircuitsError, match=r"give either a top-n or a threshold; got none .*top_n=200"):
        scores.select()
