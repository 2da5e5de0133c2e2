"""One job: what its folder holds is what the functions give that a caller would call one by one."""

from __future__ import annotations

import json

import pytest
import torch

from kcircuits.analysis.curves.reading import layer_curves
from kcircuits.analysis.heads.reading import read_heads
from kcircuits.analysis.roles.reading import head_roles
from kcircuits.circuit import Circuit
from kcircuits.discovery import Eap, attribute, checkpoint, discover
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import evaluate
from kcircuits.scores import Scores
from kcircuits.sweeps.expand import load_choice
from kcircuits.sweeps.store import Store
from kcircuits.sweeps.work import do_job, do_part
from kcircuits.task import Task
from tests.experiments import experiment
from tests.sweep.test_expand import expanded

METHODS = [
    {"method": "acdc", "threshold": 0.1},
    {"method": "eap-ig-inputs", "top_n": 60, "ig_steps": 2, "absolute": False},
    {"method": "eap", "top_n": 3, "level": "node", "fold_value_biases": True},
    {"method": "edge-pruning", "top_n": 60, "steps": 5},
]
ANALYSES = {"evaluate": {"random": 2}, "curves": {}, "heads": {"strongest": 3}, "roles": {"random": 2}}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "out")


def jobs_of(path):
    jobs = list(expanded(path).jobs.values())
    return jobs, load_choice(jobs[0].model)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["method"])
def test_the_same_as_by_hand(written, store, method):
    (job,), model = jobs_of(written(methods=[method], analyses=ANALYSES, seeds=[3]))
    seen = []
    do_job(job, model, store, job.memory, 1, seen.append)
    folder = store.jobs.get(job.key)
    assert folder is not None

    options = {key: value for key, value in method.items() if key != "method"}
    if method["method"] == "edge-pruning":
        options["seed"] = 3
    prompts = job.search.task.prompts
    circuit = discover(model, *experiment(prompts, method["method"], ablation="corrupt", **options))
    found = Circuit.load(folder / "circuit.json")
    assert found.edges == circuit.edges and found.metric == circuit.metric
    assert found.settings == circuit.settings and found.model == circuit.model
    assert seen[-1].share > 0

    task = Task.as_found(circuit, prompts)
    documents = {
        "evaluation": evaluate(model, task, circuit, random_circuits=2, seed=3),
        "curves": layer_curves(model, task, circuit, seed=3),
        "heads": read_heads(model, task, circuit, strongest=3),
        "roles": head_roles(model, task, circuit, draws=2, seed=3),
    }
    for name, expected in documents.items():
        assert json.loads((folder / f"{name}.json").read_text()) == json.loads(json.dumps(expected.to_json()))
    row = json.loads((folder / "row.json").read_text())
    evaluation = documents["evaluation"]
    assert row["faithfulness"] == evaluation.faithfulness and row["edges"] == len(circuit.edges) > 0
    assert row["hit_at_10"] == evaluation.circuit.hit_at_10 and row["metric_full"] == circuit.metric["full"]
    assert (row["key"], row["seed"]) == (job.key, 3)


def test_scores_are_computed_once(written, store, monkeypatch):
    jobs, model = jobs_of(written(methods=[{"method": "eap", "top_n": [20, 60]}], seeds=[0, 1]))
    do_job(jobs[0], model, store, jobs[0].memory, 1, None)
    monkeypatch.setattr("kcircuits.sweeps.work.attribute", None)
    for job in jobs[1:]:
        do_job(job, model, store, job.memory, 1, None)
    assert store.jobs.keys() == sorted(job.key for job in jobs)
    assert len(store.parts.keys()) == 3


def test_a_broken_part_is_made_again(written, store):
    jobs, model = jobs_of(written(methods=[{"method": "eap", "top_n": [20, 60]}]))
    do_job(jobs[0], model, store, jobs[0].memory, 1, None)
    scores = store.out / "parts" / jobs[0].search.scores_key / "scores.safetensors"
    whole, matrix = scores.read_bytes(), Scores.load(scores).matrix
    scores.write_bytes(whole[:-1] + b"x")
    do_job(jobs[1], model, store, jobs[1].memory, 1, None)
    assert (Scores.load(scores).matrix == matrix).all()


LONG = {"prompts": [{"prompts": "long.jsonl"}], "methods": [{"method": "eap", "top_n": 20}]}
"""Prompts in three parts."""


@pytest.mark.parametrize("there", [(), (2,), (0, 1, 2)], ids=str)
def test_scores_of_parts_are_added_up(written, long_prompts, store, there):
    """To the bits of all prompts scored at once, whichever parts were there; then they are not kept."""
    (job,), model = jobs_of(written(**LONG))
    for part in there:
        do_part(job, part, model, store, job.memory, None)
    heard = []
    do_job(job, model, store, job.memory, 1, heard.append)
    assert store.parts.keys() == sorted(job.search.shared_keys)
    kept = Scores.load(store.out / "parts" / job.search.scores_key / "scores.safetensors")
    whole = attribute(model, Task(job.search.task.prompts, "corrupt"), Eap(), memory=job.memory)
    assert (kept.matrix == whole.matrix).all() and kept.settings == whole.settings
    shares = [done.share for done in heard if getattr(done, "unit", "") == "runs"]
    assert shares == sorted(shares)
    assert there or shares[-1] == 1.0


@pytest.mark.parametrize("other", ["memory", "threads"])
def test_scores_of_a_part_that_was_made_otherwise(written, long_prompts, store, tmp_path, other):
    (job,), model = jobs_of(written(**LONG))
    torch.set_num_threads(2 if other == "threads" else 1)
    do_part(job, 0, model, store, job.memory // (2 if other == "memory" else 1), None)
    torch.set_num_threads(1)
    do_job(job, model, store, job.memory, 1, None)
    undisturbed = Store(tmp_path / "other")
    do_job(job, model, undisturbed, job.memory, 1, None)
    ours, other = (
        Scores.load(each.out / "parts" / job.search.scores_key / "scores.safetensors")
        for each in (store, undisturbed)
    )
    assert (ours.matrix == other.matrix).all()


def test_a_circuit_without_edges(written, store):
    methods = [{"method": "acdc", "threshold": 1000}]
    (job,), model = jobs_of(written(methods=methods, analyses=ANALYSES, ablations=["zero"]))
    do_job(job, model, store, job.memory, 1, None)
    folder = store.jobs.get(job.key)
    assert folder is not None
    names = {path.name for path in folder.iterdir()}
    assert {"circuit.json", "evaluation.json", "curves.json"} < names
    assert not names & {"heads.json", "roles.json"}  # there is nothing to read


def test_another_model_in_its_place(written, store):
    jobs, model = jobs_of(written())
    model.identity["weights_hash"] = "0" * 64
    for do in (
        lambda: do_job(jobs[0], model, store, jobs[0].memory, 1, None),
        lambda: do_part(jobs[2], 0, model, store, jobs[2].memory, None),
    ):
        with pytest.raises(KCircuitsError, match=r"the weights of .*model have changed"):
            do()
    assert store.jobs.keys() == []


class Stopped(Exception):
    """A search that ends in the middle."""


def stop_after(count):
    """A listener that ends the search when it hears of it for the count-th time."""
    heard = []

    def listen(progress):
        heard.append(progress)
        if len(heard) == count:
            raise Stopped

    return listen


@pytest.mark.parametrize("kept", ["whole", "damaged", "of another memory"])
def test_a_search_that_was_stopped_goes_on(written, store, tmp_path, monkeypatch, kept):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)
    (job,), model = jobs_of(written(methods=[{"method": "acdc", "threshold": 0.01}]))
    with pytest.raises(Stopped):
        do_job(job, model, store, job.memory, 1, stop_after(8))
    (path,) = store.scratch_of(job.search.key).iterdir()
    if kept == "damaged":
        path.write_bytes(path.read_bytes()[:-10])
    begun = []
    memory = job.memory // 2 if kept == "of another memory" else job.memory
    do_job(job, model, store, memory, 2, begun.append)
    assert not path.exists()
    assert (begun[0].share > 0.1) == (kept == "whole")
    undisturbed = Store(tmp_path / "other")
    do_job(job, model, undisturbed, memory, 1, None)
    ours, other = (Circuit.load(each.jobs.get(job.key) / "circuit.json") for each in (store, undisturbed))
    assert (ours.edges, ours.metric) == (other.edges, other.metric)
