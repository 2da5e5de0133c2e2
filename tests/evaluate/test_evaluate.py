"""Evaluation against the reference forward, run by run."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from kcircuits.circuit import Circuit, Edge
from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.data.metrics import faithfulness
from kcircuits.discovery import Acdc, discover
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import RunMeasures, answer_ranks, evaluate
from kcircuits.model.loading import Model, load_model
from kcircuits.task import Task
from tests.tasks import random_prompts_of, reference_metric, reference_runs

PROMPTS = random_prompts_of([5, 3, 5, 2], seed=3)


@pytest.fixture(scope="module")
def model(tiny_folder) -> Model:
    return load_model(tiny_folder("llama_gqa"))


@pytest.fixture(scope="module")
def circuit(model) -> Circuit:
    return discover(model, Task(PROMPTS[:2], "corrupt", metric="kl"), Acdc(threshold=0.1))


def expected(model: Model, task: Task, mask: np.ndarray) -> RunMeasures:
    logits = reference_runs(model.spec, task)(mask)
    answers = torch.tensor([prompt.answer_id for prompt in task.prompts])[:, None]
    rank = 1 + (logits > logits.gather(1, answers)).sum(dim=1)
    probability = logits.softmax(dim=-1).gather(1, answers)[:, 0]
    metric = reference_metric(model.spec, task)(logits)
    kl = reference_metric(model.spec, replace(task, metric="kl"))(logits)
    return RunMeasures(*(tuple(values.tolist()) for values in (metric, rank, probability, kl)))


def check(run: RunMeasures, reference: RunMeasures) -> None:
    assert run.rank == reference.rank
    for name in ("metric", "probability", "kl"):
        assert getattr(run, name) == pytest.approx(getattr(reference, name), abs=1e-4)


@pytest.mark.parametrize("memory", [1, "1GiB"], ids=["a prompt at a time", "together"])
def test_every_run(model, circuit, memory):
    result = evaluate(
        model, Task.as_found(circuit, PROMPTS), circuit, random_circuits=3, seed=7, memory=memory
    )
    task, graph = Task(PROMPTS, "corrupt", "kl"), circuit.graph
    check(result.full, expected(model, task, graph.valid))
    check(result.circuit, expected(model, task, circuit.mask()))
    check(result.complement, expected(model, task, graph.valid & ~circuit.mask()))
    check(result.empty, expected(model, task, np.zeros_like(graph.valid)))
    assert len(result.random) == 3
    for index, run in enumerate(result.random):
        mask = random_connected_mask(graph, len(circuit.edges), np.random.default_rng(7 + index))
        check(run, expected(model, task, mask))


def test_on_its_own_prompts_it_says_what_discovery_said(model, circuit):
    result = evaluate(model, Task.as_found(circuit, PROMPTS[:2]), circuit, random_circuits=0)
    measured = {name: getattr(result, name).mean_metric for name in ("full", "circuit", "empty")}
    assert measured == pytest.approx(circuit.metric, abs=1e-5)
    assert result.faithfulness == pytest.approx(faithfulness(**circuit.metric), abs=1e-4)


def test_settings_come_from_the_circuit_unless_given(model, circuit):
    own = evaluate(model, Task.as_found(circuit, PROMPTS), circuit, random_circuits=0)
    assert (own.ablation, own.metric, own.fold_value_biases) == ("corrupt", "kl", False)
    given = evaluate(
        model, Task.as_found(circuit, PROMPTS, ablation="zero", metric="nll"), circuit, random_circuits=0
    )
    assert (given.ablation, given.metric) == ("zero", "nll")
    check(given.circuit, expected(model, Task(PROMPTS, "zero"), circuit.mask()))


def test_folded_value_biases_stay_folded(tiny_folder):
    biased = load_model(tiny_folder("gpt2"))
    found = discover(biased, Task(PROMPTS, "zero", fold_value_biases=True), Acdc(threshold=0.1))
    assert evaluate(biased, Task.as_found(found, PROMPTS), found).empty.mean_metric == pytest.approx(
        found.metric["empty"]
    )


def test_a_circuit_without_edges_has_no_random_ones(model, circuit):
    nothing = replace(circuit, edges=())
    result = evaluate(model, Task.as_found(nothing, PROMPTS), nothing)
    assert result.random == ()
    assert result.circuit == result.empty
    assert result.faithfulness == 0


def test_the_full_circuit_is_the_full_model(model, circuit):
    everything = discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0))
    whole = evaluate(
        model,
        Task.as_found(replace(everything, edges=_all_edges(circuit)), PROMPTS, ablation="zero"),
        replace(everything, edges=_all_edges(circuit)),
        random_circuits=2,
    )
    assert whole.faithfulness == pytest.approx(1)
    assert whole.random_faithfulness == pytest.approx([1, 1], abs=1e-4)
    assert whole.p_value == 1


def _all_edges(circuit):
    graph = circuit.graph
    return tuple(Edge(graph.senders[s], graph.receivers[r], 0.0) for s, r in np.argwhere(graph.valid))


def test_the_complement_of_nothing_is_everything(model, circuit):
    result = evaluate(model, Task.as_found(replace(circuit, edges=()), PROMPTS), replace(circuit, edges=()))
    assert result.complement == result.full
    assert result.completeness == pytest.approx(1)


def test_kl_is_the_metric_kl(model, circuit):
    result = evaluate(model, Task.as_found(circuit, PROMPTS, metric="kl"), circuit, random_circuits=2)
    for run in (result.full, result.circuit, result.complement, result.empty, *result.random):
        assert run.kl == pytest.approx(run.metric, abs=1e-5)
    assert result.full.kl == pytest.approx((0, 0, 0, 0), abs=1e-6)


def test_without_edges_and_constants_nothing_is_predicted(tiny_folder):
    """Zero ablation of everything leaves equal logits where a model has no biases."""
    model = load_model(tiny_folder("llama"))
    found = discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.1))
    empty = evaluate(model, Task.as_found(found, PROMPTS), found, random_circuits=0).empty
    assert empty.rank == ((model.spec.vocab_size + 1) / 2,) * 4
    assert (empty.accuracy, empty.hit_at_10) == (0, 0)


def test_json(model, circuit):
    result = evaluate(model, Task.as_found(circuit, PROMPTS), circuit, hit_k=20)
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document == result.to_json()
    assert document["num_prompts"] == len(document["full"]["per_prompt"]["rank"]) == 4
    assert document["num_edges"] == len(circuit.edges)
    means = {"metric", "hit_at_10", "hit_at_k", "accuracy", "mean_rank", "probability", "kl"}
    for run in ("full", "circuit", "complement", "empty"):
        assert document[run].keys() == means | {"intervals", "per_prompt"}
        assert document[run]["intervals"].keys() == means
    assert document["circuit"]["hit_at_k"] == result.circuit.hit_at(20)
    assert len(document["random"]) == len(document["random_faithfulness"]) == 19


def test_of_one_prompt_there_are_no_intervals(model, circuit):
    document = evaluate(model, Task.as_found(circuit, PROMPTS[:1]), circuit, random_circuits=0).to_json()
    assert document["circuit"]["intervals"] is None
    assert document["faithfulness_interval"] is document["completeness_interval"] is None
    assert document["p_value"] is None


def test_some_of_the_prompts_are_an_evaluation_of_their_own(model, circuit):
    whole = evaluate(model, Task.as_found(circuit, PROMPTS), circuit, random_circuits=2).on([1, 3]).to_json()
    alone = evaluate(
        model, Task.as_found(circuit, (PROMPTS[1], PROMPTS[3])), circuit, random_circuits=2
    ).to_json()
    assert whole.keys() == alone.keys()
    assert whole["circuit"]["per_prompt"]["rank"] == alone["circuit"]["per_prompt"]["rank"]
    for name in ("faithfulness", "completeness", "faithfulness_interval", "random_faithfulness"):
        assert whole[name] == pytest.approx(alone[name], abs=1e-4)


def test_bad_input(model, circuit, tiny_folder):
    with pytest.raises(KCircuitsError, match="the circuit was found in the model 'llama_gqa'"):
        evaluate(load_model(tiny_folder("llama")), Task.as_found(circuit, PROMPTS), circuit)
    with pytest.raises(KCircuitsError, match="there are no prompts"):
        evaluate(model, Task.as_found(circuit, []), circuit)
    with pytest.raises(KCircuitsError, match="random_circuits must be a whole number, at least 0; got -1"):
        evaluate(model, Task.as_found(circuit, PROMPTS), circuit, random_circuits=-1)
    with pytest.raises(KCircuitsError, match="hit_k must be a whole number, at least 1; got 0"):
        evaluate(model, Task.as_found(circuit, PROMPTS), circuit, hit_k=0)
    with pytest.raises(KCircuitsError, match=r"ablation must be one of .*; got 'noise'"):
        evaluate(
            model,
            Task.as_found(replace(circuit, settings={"ablation": "noise"}), PROMPTS),
            replace(circuit, settings={"ablation": "noise"}),
        )


def test_numbers_that_overflow_are_refused(model, circuit, monkeypatch):
    monkeypatch.setattr("kcircuits.engine.Engine.metric", lambda _, rows: rows.sum(dim=-1) * math.nan)
    with pytest.raises(KCircuitsError, match="the metric kl of a masked run is not finite"):
        evaluate(model, Task.as_found(circuit, PROMPTS), circuit)


@pytest.mark.parametrize("memory", [1, "1GiB"])
def test_answer_ranks(model, memory):
    known = expected(model, Task(PROMPTS, "zero"), model.spec.graph.valid)
    assert answer_ranks(model, PROMPTS, memory) == known.rank
    assert answer_ranks(model, [], memory) == ()


def test_faithfulness_of_a_model_that_ablation_does_not_change():
    assert faithfulness(full=1.0, circuit=2.0, empty=1.0) is None
