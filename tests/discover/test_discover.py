"""The function that finds circuits: what it records, and what it refuses before it starts."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from kcircuits.circuit import Circuit
from kcircuits.discovery import METHODS, Eap, StaleMetricError, attribute, discover, method_of
from kcircuits.discovery.acdc import Acdc
from kcircuits.engine import Engine
from kcircuits.errors import KCircuitsError, KCircuitsWarning
from kcircuits.evaluation import evaluate
from kcircuits.model.loading import Model, load_model
from kcircuits.scores.selection import Selection
from kcircuits.task import Task
from tests.experiments import experiment
from tests.models import tiny_spec
from tests.tasks import random_prompts_of


@pytest.fixture(scope="module")
def model(tiny_folder) -> Model:
    return load_model(tiny_folder("gpt2"))


PROMPTS = random_prompts_of([5, 3])
ROOT = Path(__file__).resolve().parents[2]  # where another process finds the package, installed or not


def test_what_a_circuit_records(model, tmp_path):
    circuit = discover(
        model,
        Task(PROMPTS, "corrupt", metric="logit-diff"),
        Acdc(threshold=0.05, absolute=True),
        memory="1GiB",
    )
    assert circuit.method == "acdc"
    assert circuit.settings == {
        "threshold": 0.05,
        "absolute": True,
        "ablation": "corrupt",
        "metric": "logit-diff",
        "fold_value_biases": False,
        "keep_positions": False,
        "num_prompts": 2,
    }
    assert circuit.model == model.identity
    assert circuit.stats.keys() == {"tests", "evaluations", "chunks", "seconds"}
    circuit.save(tmp_path / "circuit.json")
    assert Circuit.load(tmp_path / "circuit.json") == circuit


def test_metric_is_that_of_fresh_runs(model):
    circuit = discover(model, Task(PROMPTS, "zero", metric="kl"), Acdc(threshold=0.05))
    graph = circuit.graph
    masks = np.stack([graph.valid, circuit.mask(), np.zeros_like(graph.valid)])
    values = Engine(model.spec, Task(PROMPTS, "zero", metric="kl")).measure(masks, 2**30)
    assert circuit.metric == dict(zip(("full", "circuit", "empty"), values, strict=True))


def test_folding_value_biases_changes_zero_ablation_only(model):
    def found(**options):
        return discover(model, *experiment(PROMPTS, "acdc", threshold=0.05, **options))

    plain, folded = found(), found(fold_value_biases=True)
    assert folded.settings["fold_value_biases"] is True
    assert folded.metric["full"] == pytest.approx(plain.metric["full"], abs=1e-4)
    assert folded.metric["empty"] != pytest.approx(plain.metric["empty"], abs=1e-2)
    corrupt = found(ablation="corrupt"), found(ablation="corrupt", fold_value_biases=True)
    assert corrupt[0].metric == pytest.approx(corrupt[1].metric, abs=1e-4)


def test_everything_can_go(model):
    circuit = discover(model, Task(PROMPTS, "zero"), Acdc(threshold=1e6))
    assert circuit.edges == ()
    assert circuit.metric["circuit"] == circuit.metric["empty"]


def test_a_search_that_contradicts_itself_is_an_error(model, monkeypatch):
    original = Acdc.search

    def lie(*arguments):
        found = original(*arguments)
        return replace(found, metric=found.metric + 0.01)

    monkeypatch.setattr(Acdc, "search", lie)
    with pytest.raises(StaleMetricError, match=r"ended with the metric .* a fresh run of its circuit gives"):
        discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.05))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, r"method must be one of acdc, edge-pruning, eap, .*, relp; got 'magic'"),
        ({"ablation": "noise"}, r"ablation must be one of zero, corrupt, mean, mean-positional; got 'noise'"),
        ({"metric": "accuracy"}, r"metric must be one of nll, kl, logit-diff; got 'accuracy'"),
        ({"threshold": -0.1}, r"threshold must be a finite number, at least 0; got -0\.1"),
        ({"threshold": float("nan")}, r"threshold must be a finite number, at least 0; got nan"),
        ({"top_n": 5}, r"acdc has no option 'top_n'; its options are threshold, absolute"),
        ({"memory": "much"}, r"memory must be a number of bytes or a size"),
        ({"prompts": []}, r"there are no prompts"),
        (
            {"prompts": [PROMPTS[0], replace(PROMPTS[1], corrupt_ids=None)], "ablation": "corrupt"},
            r"corrupt prompt for every prompt, but prompt 2 has none",
        ),
        (
            {"prompts": [replace(PROMPTS[1], wrong_id=None)], "metric": "logit-diff"},
            r"wrong answer for every prompt, but prompt 1 has none",
        ),
        ({"prompts": [replace(PROMPTS[0], answer_id=10_000)]}, r"prompt 1: id 10000 is not in the"),
    ],
)
def test_bad_input_is_refused_before_the_search(model, monkeypatch, changes, message):
    monkeypatch.setattr(Acdc, "search", lambda *_: pytest.fail("the search has begun"))
    with pytest.raises(KCircuitsError, match=message):
        memory = changes.pop("memory", None)
        discover(model, *experiment(**({"prompts": PROMPTS, "threshold": 0.1} | changes)), memory=memory)


def test_options_that_are_left_out():
    assert method_of("acdc", {}) == Acdc(threshold=None, absolute=False)


@pytest.mark.parametrize("name", METHODS)
def test_methods_go_by_their_own_names(name):
    assert METHODS[name].name == name


@pytest.mark.parametrize("first", ["", "import kcircuits.discovery.acdc", "import kcircuits.evaluation.run"])
def test_functions_are_functions_whatever_was_imported_before(first):
    code = (
        f"{first}\nimport inspect, kcircuits\n"
        "assert all(map(inspect.isfunction, (kcircuits.discover, kcircuits.evaluate, kcircuits.sweep)))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_correction_of_queries_needs_a_query_of_its_own():
    model = Model(tiny_spec("olmo2"), None, {})
    task, method = Task(PROMPTS, "corrupt"), Eap(qk_fix=True)
    for call in (partial(attribute), partial(discover, selection=Selection(top_n=5))):
        with pytest.raises(KCircuitsError, match="qk_fix is not defined for olmo2"):
            call(model, task, method)


@pytest.mark.parametrize("place", ["", "missing/scores.safetensors"])
def test_a_place_for_scores_is_checked_before_the_search(model, tmp_path, place):
    with pytest.raises(KCircuitsError, match="cannot write"):
        discover(
            model,
            Task(PROMPTS, "corrupt"),
            Eap(),
            Selection(top_n=20),
            scores=tmp_path / place,
            progress=lambda _: pytest.fail("the search has begun"),
        )


def test_acdc_refuses_corrupt_prompts_that_change_nothing(model):
    same = [replace(prompt, corrupt_ids=prompt.clean_ids) for prompt in PROMPTS]
    with pytest.raises(KCircuitsError, match="every corrupt prompt is the same"):
        discover(model, Task(same, "corrupt"), Acdc(threshold=0.1))


def test_a_circuit_of_reference_prompts_is_not_measured_without_them(model):
    reference = random_prompts_of([6, 5], seed=9)
    circuit = discover(model, Task(PROMPTS, "mean", reference=reference), Eap(), Selection(top_n=60))
    assert circuit.settings["num_reference"] == 2
    with pytest.raises(KCircuitsError, match="was found with reference prompts"):
        evaluate(model, Task.as_found(circuit, PROMPTS), circuit)
    found = evaluate(model, Task.as_found(circuit, PROMPTS, reference=reference), circuit, random_circuits=0)
    assert found.circuit.mean_metric == pytest.approx(circuit.metric["circuit"], abs=1e-4)


def test_a_circuit_that_is_worse_than_nothing_is_said_to_be_so(model, monkeypatch):
    worse = {"full": 1.0, "circuit": 3.0, "empty": 2.0}
    monkeypatch.setattr("kcircuits.discovery.run.measure", lambda *_: list(worse.values()))
    with pytest.warns(KCircuitsWarning, match="nll is 3, worse than 2 without any edge: try corrupt"):
        circuit = discover(model, Task(PROMPTS, "zero"), Eap(), Selection(top_n=60))
    assert circuit.metric == worse
    for given in (PROMPTS, "text"):
        with pytest.raises(KCircuitsError, match=r"write kcircuits.Task\(model.prompts"):
            discover(model, given, Eap())
