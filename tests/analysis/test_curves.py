"""Curves over layers against the reference forward, and what is made of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from kcircuits.analysis.bands import bootstrap_band
from kcircuits.analysis.curves.reading import layer_curves
from kcircuits.analysis.curves.results import MEASURES, Curves
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import evaluate
from kcircuits.model.forward import forward_senders, unembed
from kcircuits.task import Task
from tests.analysis.models import PROMPTS, model_of, some_circuit
from tests.circuits import circuit_of_mask, identity_for


def logits_by_layer(spec, prompt) -> torch.Tensor:
    """Logits of the plain run's stream behind 0 … L layers at every position, [L + 1, T, V]."""
    ids = torch.tensor([prompt.clean_ids])
    run = forward_senders(spec, ids, torch.ones_like(ids, dtype=torch.bool))
    per_layer = spec.num_heads + 2 * spec.num_kv_heads + 1
    streams = torch.stack(run.streams[::per_layer])[:, 0]  # queries' streams, and the logits'
    return unembed(spec, streams)


@pytest.mark.parametrize("name", ["gpt2", "llama_gqa", "gpt_neox", "gemma2", "olmo2", "gpt_oss"])
def test_the_full_run_is_the_logit_lens(name):
    model = model_of(name)
    full = layer_curves(model, Task(PROMPTS)).runs["full"]
    for n, prompt in enumerate(PROMPTS):
        logits = logits_by_layer(model.spec, prompt)
        probability = logits.softmax(-1)[..., prompt.answer_id]
        rank = 1 + (logits > logits[..., prompt.answer_id, None]).sum(-1)
        np.testing.assert_allclose(full.probability[n], probability[:, -1], rtol=1e-3)
        assert full.rank[n].tolist() == rank[:, -1].tolist()
        if prompt.subject is None:
            assert np.isnan(full.subject_best_rank[n]).all()
            assert np.isnan(full.subject_last_probability[n]).all()
        else:
            first, end = prompt.subject
            assert full.subject_best_rank[n].tolist() == rank[:, first:end].min(dim=1).values.tolist()
            np.testing.assert_allclose(full.subject_last_probability[n], probability[:, end - 1], rtol=1e-3)


@pytest.mark.parametrize("memory", [1, "1GiB"])
def test_behind_all_layers_they_are_what_evaluate_measures(memory):
    model = model_of("llama_gqa")
    circuit = some_circuit(model)
    task = Task.as_found(circuit, PROMPTS)
    curves = layer_curves(model, task, circuit, memory=memory)
    measured = evaluate(model, task, circuit, random_circuits=0)
    for run, expected in (("full", measured.full), ("circuit", measured.circuit)):
        assert curves.runs[run].rank[:, -1].tolist() == list(expected.rank)
        np.testing.assert_allclose(curves.runs[run].probability[:, -1], expected.probability, rtol=1e-4)
    assert curves.settings["ablation"] == "corrupt"


def test_a_circuit_of_everything_is_the_full_run():
    model = model_of("gpt2")
    circuit = circuit_of_mask(model.spec.graph, model.spec.graph.valid, np.random.default_rng(0))
    runs = layer_curves(model, Task(PROMPTS), circuit).runs
    np.testing.assert_allclose(runs["circuit"].probability, runs["full"].probability, rtol=1e-5)


@pytest.fixture(scope="module")
def curves() -> Curves:
    model = model_of("llama_gqa")
    return layer_curves(model, Task(PROMPTS, "corrupt"), some_circuit(model))


def test_bands_are_over_prompts_with_a_subject(curves):
    summary = curves.summary("circuit")
    rank = curves.runs["circuit"].rank
    np.testing.assert_allclose(summary["rank"].mean, np.exp(np.log(rank).mean(axis=0)))
    assert (summary["rank"].low <= summary["rank"].mean).all()
    assert (summary["rank"].mean <= summary["rank"].high).all()
    best = curves.runs["circuit"].subject_best_rank[[0, 2]]
    np.testing.assert_allclose(summary["subject_best_rank"].mean, np.exp(np.log(best).mean(axis=0)))


def test_json_is_finite_and_complete(curves, tmp_path):
    curves.save(tmp_path / "curves.json")
    document = json.loads((tmp_path / "curves.json").read_text(), parse_constant=pytest.fail)
    assert document["format"] == "kcircuits-curves/1"
    assert document["layers"] == [0, 1, 2, 3]
    assert document["circuit"] is True
    assert [prompt["subject"] for prompt in document["prompts"]] == [[1, 3], None, [0, 1]]
    assert document["prompts"][1]["runs"]["full"]["subject_best_rank"] is None
    for prompt in document["prompts"]:
        assert prompt["tokens"] and prompt["answer"].isdigit()  # a model without a tokenizer
        for run in prompt["runs"].values():
            assert set(run) == set(MEASURES)
            assert all(values is None or len(values) == 4 for values in run.values())
    assert document["summary"]["full"]["rank"].keys() == {"mean", "low", "high"}


def test_table_has_a_row_for_every_run_prompt_and_layer(curves):
    table = curves.table()
    assert len(table) == 2 * 3 * 4
    chosen = table[(table.run == "circuit") & (table.prompt == 2) & (table.layer == 3)]
    assert chosen["rank"].item() == curves.runs["circuit"].rank[2, 3]


def test_no_subject_no_band_of_one():
    curves = layer_curves(model_of("llama"), Task(PROMPTS[1:2]))
    assert curves.summary("full")["subject_best_rank"] is None
    assert curves.to_json()["summary"]["full"]["subject_last_probability"] is None
    band = curves.summary("full")["probability"]
    assert (band.low == band.mean).all() and (band.high == band.mean).all()


def test_the_band_of_ranks_is_geometric():
    band = bootstrap_band(np.array([[1.0, 10.0], [100.0, 10.0]]), seed=0, geometric=True)
    np.testing.assert_allclose(band.mean, [10, 10])
    np.testing.assert_allclose((band.low[0], band.high[0]), (1, 100))
    np.testing.assert_allclose((band.low[1], band.high[1]), (10, 10))


def test_the_metric_makes_no_difference(curves):
    model = model_of("llama_gqa")
    task = Task(PROMPTS, "corrupt", metric="kl")
    assert layer_curves(model, task, some_circuit(model)) == curves


def test_the_changes_of_the_task_are_made():
    """Of ablated keys and values the bias stays where it is folded into the output's bias."""
    model = model_of("gpt2")
    circuit = some_circuit(model)
    folded = Task(PROMPTS, "zero", fold_value_biases=True)
    (own, other) = (
        layer_curves(model, task, circuit).runs["circuit"].probability[:, -1]
        for task in (Task(PROMPTS, "zero"), folded)
    )
    expected = evaluate(model, folded, circuit, random_circuits=0).circuit.probability
    np.testing.assert_allclose(other, expected, rtol=1e-4)
    assert not np.allclose(own, other, rtol=1e-2)


def test_bad_input():
    model = model_of("llama_gqa")
    foreign = replace(some_circuit(model), model=identity_for(model.spec.graph, weights_hash="1" * 64))
    with pytest.raises(KCircuitsError, match="the circuit was found in the model"):
        layer_curves(model, Task(PROMPTS), foreign)
    with pytest.raises(KCircuitsError, match="seed must be a whole number"):
        layer_curves(model, Task(PROMPTS), seed=-1)
