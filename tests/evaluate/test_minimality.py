"""Minimality against one masked run per removed edge."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kcircuits.discovery import Acdc, discover
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import Minimality, measure, minimality
from kcircuits.evaluation.intervals import wilson_interval
from kcircuits.model.loading import load_model
from kcircuits.task import Task
from tests.tasks import random_prompts_of, reference_metric, reference_runs

PROMPTS = random_prompts_of([4, 3, 5], seed=11)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(tiny_folder("llama_gqa"))


@pytest.fixture(scope="module")
def circuit(model):
    return discover(model, Task(PROMPTS, "corrupt", metric="kl"), Acdc(threshold=0.3))


@pytest.mark.parametrize("memory", [1, "1GiB"])
@pytest.mark.parametrize("mask_bytes", [1, 2**28])
def test_every_edge(monkeypatch, model, circuit, memory, mask_bytes):
    monkeypatch.setattr(measure, "MASK_BYTES", mask_bytes)
    result = minimality(model, Task.as_found(circuit, PROMPTS), circuit, memory=memory)
    task = Task(PROMPTS, "corrupt", "kl")
    run, metric = reference_runs(model.spec, task), reference_metric(model.spec, task)
    assert result.edges == tuple(f"{edge.sender}->{edge.receiver}" for edge in circuit.edges)
    own = metric(run(circuit.mask())).mean()
    for edge, effect in zip(circuit.edges, result.effects, strict=True):
        without = circuit.mask()
        without[circuit.graph.sender_index(edge.sender), circuit.graph.receiver_index(edge.receiver)] = False
        assert effect == pytest.approx(float(metric(run(without)).mean() - own), abs=1e-4)
    assert result.mean_effect == pytest.approx(result.effects.mean())


def test_a_sample_of_edges(model, circuit):
    whole = minimality(model, Task.as_found(circuit, PROMPTS), circuit)
    size = len(circuit.edges) // 2
    sample = minimality(model, Task.as_found(circuit, PROMPTS), circuit, limit=size, seed=4)
    assert sample.num_edges == len(circuit.edges)
    assert len(set(sample.edges)) == size
    effects = dict(zip(whole.edges, whole.effects, strict=True))
    assert sample.effects == pytest.approx([effects[edge] for edge in sample.edges], abs=1e-6)
    assert (
        sample.edges == minimality(model, Task.as_found(circuit, PROMPTS), circuit, limit=size, seed=4).edges
    )
    assert (
        sample.edges != minimality(model, Task.as_found(circuit, PROMPTS), circuit, limit=size, seed=5).edges
    )


def result_of(effects: list[float], empty: float = 101.0) -> Minimality:
    names = tuple(f"edge {index}" for index in range(len(effects)))
    without = 2 + np.array(effects)[:, None] * [0.5, 1.5]  # a mean of `effects` over two prompts
    return Minimality(names, len(names), 0, np.ones(2), np.full(2, 2.0), np.full(2, empty), without)


def test_redundant_edges():
    result = result_of([0.5, -0.5, 0.99, -0.99, 1.01, -3.0, 50.0])  # the range is 100
    assert result.effects == pytest.approx([0.5, -0.5, 0.99, -0.99, 1.01, -3.0, 50.0])
    assert result.redundant_share == pytest.approx(4 / 7)
    assert result.redundant_interval == wilson_interval(4, 7)
    low, high = result.mean_effect_interval
    assert low < result.mean_effect < high


def test_without_a_range_no_edge_is_redundant_or_not():
    flat = result_of([0.5, 0.0], empty=1.0)
    assert flat.redundant_share is flat.redundant_interval is None


def test_one_edge_has_no_interval():
    assert result_of([0.5]).mean_effect_interval is None


def test_on_some_prompts():
    assert result_of([2.0, 4.0]).on([1]).effects == pytest.approx([3, 6])


def test_json():
    result = result_of([0.5, 3.0])
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document == result.to_json()
    assert document["effects"] == {"edge 0": 0.5, "edge 1": 3.0}
    assert (document["num_edges"], document["num_measured"], document["redundant"]) == (2, 2, 0.5)


def test_bad_input(model, circuit, tiny_folder):
    with pytest.raises(KCircuitsError, match="limit must be a whole number, at least 1; got 0"):
        minimality(model, Task.as_found(circuit, PROMPTS), circuit, limit=0)
    with pytest.raises(KCircuitsError, match="needs a circuit with edges"):
        minimality(model, Task.as_found(replace(circuit, edges=()), PROMPTS), replace(circuit, edges=()))
    with pytest.raises(KCircuitsError, match="use the model that it was found in"):
        minimality(load_model(tiny_folder("llama")), Task.as_found(circuit, PROMPTS), circuit)
