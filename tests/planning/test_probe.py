"""The expected time of a search: what a probe sees, and what is made of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import kcircuits as kc
from kcircuits.discovery import acdc_probe
from kcircuits.discovery.acdc_probe import probe_search, weights_passed
from kcircuits.engine import Engine
from kcircuits.graph import Graph
from kcircuits.model.loading import Model
from kcircuits.task import Task
from tests.circuits import identity_for
from tests.models import tiny_spec
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([5, 4])
MEMORY = 2**30
DEEP = Graph(num_layers=20, num_heads=4, num_kv_heads=4)
WEIGHTS = np.arange(DEEP.num_layers + 1)[::-1] + 8.0


@pytest.fixture(scope="module")
def model() -> Model:
    spec = tiny_spec("llama_gqa")
    return Model(spec, None, identity_for(spec.graph))


def test_a_short_search_is_run_to_its_end(model):
    forecast = probe_search(
        Engine(model.spec, Task(PROMPTS)), weights_passed(model.spec), 0.05, False, MEMORY, seconds=60
    )
    assert forecast.finished
    assert 0 < forecast.low < forecast.seconds < forecast.high


def test_a_probe_stops_in_time_and_disturbs_nothing(model):
    engine = Engine(model.spec, Task(PROMPTS))
    before = kc.Acdc(0.01).search_with(engine, MEMORY, None)
    forecast = probe_search(
        engine, weights_passed(model.spec), 0.01, False, MEMORY, seconds=0.0
    )  # after the first batch
    assert not forecast.finished
    assert 0 < forecast.low <= forecast.seconds
    assert forecast.low < forecast.high
    after = kc.Acdc(0.01).search_with(engine, MEMORY, None)
    assert (before.edges, before.stats) == (after.edges, after.stats)


class SlowEngine:
    """A search whose receivers keep a given number of edges, and whose tests all cost the same per layer."""

    graph = DEEP

    def __init__(self, keeps: int, clock: SimpleNamespace, seed: int = 0) -> None:
        self.keeps, self.clock, self.rng = keeps, clock, np.random.default_rng(seed)
        self.kept = np.zeros((len(DEEP.receivers), len(DEEP.senders)), dtype=bool)

    def acdc(self, threshold, *, absolute, memory, progress, checkpoint):
        into = acdc_probe.shaping_table(DEEP)
        tests = 0
        for index in reversed(range(len(DEEP.receivers))):
            layer = DEEP.readers[index].layer
            layer = DEEP.num_layers if layer is None else layer
            is_sink = layer == DEEP.num_layers
            if not (is_sink or (into[index] & self.kept.any(axis=0)).any()):
                continue
            senders = int(DEEP.num_senders_of[index])
            keeps = self.keeps
            if DEEP.readers[index].kind in ("q", "k", "v") and self.rng.random() < 0.75:
                keeps = 0  # all of its edges go at once
            self.kept[index, self.rng.integers(senders, size=min(keeps, senders))] = True
            tests += senders if keeps else 1
            self.clock.now += 0.001 * (senders if keeps else 1) * WEIGHTS[layer]
            try:
                progress(SimpleNamespace(layer=layer, tests=tests))
            except Exception:
                counts = torch.tensor([layer])
                kept = torch.from_numpy(np.flatnonzero(self.kept))
                checkpoint.keep({"kept_edges": kept, "counts": counts})
                raise


@pytest.mark.parametrize("keeps", [1, 2, 6])
def test_the_range_holds_the_truth(monkeypatch, keeps):
    """Searches that keep few edges cost a fraction of those that keep many."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(acdc_probe, "perf_counter", lambda: clock.now)
    held, wrong_by = 0, []
    for seed in range(10):
        start = clock.now
        SlowEngine(keeps, clock, seed).acdc(0, absolute=0, memory=0, progress=lambda _: 0, checkpoint=None)
        truth = clock.now - start
        forecast = probe_search(SlowEngine(keeps, clock, seed), WEIGHTS, 0, False, 0, seconds=truth / 5)
        assert not forecast.finished
        held += forecast.low <= truth <= forecast.high
        wrong_by.append(forecast.seconds / truth)
    assert held >= 6
    assert 0.6 < np.median(wrong_by) < 1.6


def test_a_plan_has_both(model):
    made = kc.plan(model, Task(PROMPTS), kc.Acdc())
    assert made.expected_low <= made.expected_seconds <= made.expected_high
    assert made.probe_finished
    assert made.time_at_most
    told = made.to_json()
    assert told["expected_seconds"] == made.expected_seconds
    for other in (
        kc.plan(model, Task(PROMPTS), kc.Acdc(), probe=False),
        kc.plan(model, Task(PROMPTS), kc.Eap()),
        kc.plan(model, Task(PROMPTS), kc.Acdc(), calibrate=False),
    ):
        assert other.expected_seconds is other.expected_low is other.expected_high is None
