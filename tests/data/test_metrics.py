"""A divergence is told without the rounding errors that would make it negative; searches never see that."""

from __future__ import annotations

import pytest

from kcircuits.data.metrics import clamp_metric
from kcircuits.discovery import Acdc, EapIg, discover
from kcircuits.engine import Engine, measure
from kcircuits.evaluation import evaluate
from kcircuits.model.loading import Model, load_model
from kcircuits.sizes import SizeOptions, compare_sizes
from kcircuits.task import Task
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([5, 3, 4])
OPTIONS = SizeOptions(fractions=(0.2, 0.5), thresholds=(0.5,))


@pytest.fixture(scope="module")
def model(tiny_folder) -> Model:
    return load_model(tiny_folder("gpt2"))


@pytest.fixture
def rounded_down(monkeypatch):
    """Metrics that are a little too low, as rounding can make them."""
    real = Engine.metric
    monkeypatch.setattr(Engine, "metric", lambda self, rows: real(self, rows) - 3e-6)


def test_what_is_reported():
    assert [clamp_metric("kl", value) for value in (-1e-6, -0.0, 0.25)] == [0.0, 0.0, 0.25]
    assert str(clamp_metric("kl", -0.0)) == "0.0"
    for metric in ("nll", "logit-diff"):
        assert clamp_metric(metric, -1.5) == -1.5


def test_no_negative_divergence_in_results(model, rounded_down):
    spec = model.spec
    raw = measure(spec, Task(PROMPTS, "corrupt", "kl"), spec.graph.valid[None], 2**28)
    assert raw[0] < 0
    circuit = discover(model, Task(PROMPTS, "corrupt", metric="kl"), Acdc(threshold=0.05))
    assert circuit.metric["full"] == 0
    result = evaluate(model, Task.as_found(circuit, PROMPTS), circuit, random_circuits=1)
    assert set(result.full.metric) == {0}
    assert min(result.full.kl) >= 0
    sizes = compare_sizes(model, Task(PROMPTS, "corrupt", metric="kl"), [EapIg()], options=OPTIONS)
    assert sizes.full == 0


def test_other_metrics_stay_as_they_are(model, rounded_down):
    task = Task(PROMPTS, "corrupt", "logit-diff")
    raw = measure(model.spec, task, model.spec.graph.valid[None], 2**28)[0]
    circuit = discover(model, Task(PROMPTS, "corrupt", metric="logit-diff"), Acdc(threshold=0.05))
    assert circuit.metric["full"] == raw
