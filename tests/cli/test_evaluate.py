"""`kcircuits evaluate`: what it says and writes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kcircuits.circuit import Circuit
from kcircuits.data.halves import half_indices, split_halves
from kcircuits.data.prompts import read_prompts
from kcircuits.evaluation import evaluate, minimality, random_curve, roc, size_curve
from kcircuits.model.loading import load_model
from kcircuits.task import Task


@pytest.fixture
def circuit_file(kcircuits, worded, prompts_file, tmp_path):
    options = ["--threshold", 0.1, "--ablation", "corrupt", "--metric", "kl"]
    done = kcircuits(
        "discover",
        "--model",
        worded,
        "--prompts",
        prompts_file,
        *options,
        "--out",
        tmp_path / "found",
        "--quiet",
    )
    assert done.status == 0
    return tmp_path / "found" / "circuit.json"


def test_weights_of_another_type(kcircuits, worded, prompts_file, circuit_file):
    given = ["--circuit", circuit_file, "--model", worded, "--prompts", prompts_file, "--random", 0, "--json"]
    done = kcircuits("evaluate", *given, "--dtype", "q8")
    assert (done.status, done.json["input"]["dtype"]) == (0, "q8")
    circuit = Circuit.load(circuit_file)
    model = load_model(worded, dtype="q8")
    prompts = read_prompts(prompts_file, None, model.spec.vocab_size, model.spec.max_positions)
    expected = evaluate(model, Task.as_found(circuit, prompts), circuit, random_circuits=0).to_json()
    assert done.json == expected | {"input": done.json["input"]}
    assert done.json != kcircuits("evaluate", *given).json


def test_json_is_the_evaluation(kcircuits, worded, prompts_file, circuit_file, tmp_path):
    options = ["--random", 2, "--seed", 5, "--out", tmp_path / "out"]
    done = kcircuits(
        "evaluate",
        "--circuit",
        circuit_file,
        "--model",
        worded,
        "--prompts",
        prompts_file,
        *options,
        "--json",
    )
    assert (done.status, done.err) == (0, "")
    model = load_model(worded)
    prompts = read_prompts(prompts_file, None, model.spec.vocab_size, model.spec.max_positions)
    expected = evaluate(
        model,
        Task.as_found(Circuit.load(circuit_file), prompts),
        Circuit.load(circuit_file),
        random_circuits=2,
        seed=5,
    ).to_json()
    expected["input"] = {"model": str(worded), "prompts": str(prompts_file)}
    assert done.json == expected
    assert expected["ablation"] == "corrupt"
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == expected


def test_table(kcircuits, worded, prompts_file, circuit_file):
    done = kcircuits(
        "evaluate", "--circuit", circuit_file, "--model", worded, "--prompts", prompts_file,
        "--ablation", "zero", "--metric", "nll",
    )  # fmt: skip
    assert (done.status, done.err) == (0, "3 prompts\n")
    for text in (
        "full model",
        "circuit",
        "empty circuit",
        "random circuits",
        "nll",
        "Hit@10",
        "faithfulness",
    ):
        assert text in done.out
    assert "zero ablation" in done.out


@pytest.fixture
def measured(kcircuits, worded, prompts_file, circuit_file):
    """Run the command on the circuit with some more options."""

    def run(*options):
        arguments = ["--circuit", circuit_file, "--model", worded, "--prompts", prompts_file]
        done = kcircuits("evaluate", *arguments, "--random", 2, *options)
        assert done.status == 0
        return done

    return run


@pytest.fixture
def model(worded):
    return load_model(worded)


@pytest.fixture
def three_prompts(model, prompts_file):
    return read_prompts(prompts_file, None, model.spec.vocab_size, model.spec.max_positions)


@pytest.mark.parametrize("options", [(), ("--minimality", "--halves"), ("--hit-k", 3, "--random", 0)])
def test_a_table_fits_100_columns(measured, options):
    lines = measured(*options, "--quiet").out, measured(*options).out
    assert lines[0] == ""
    assert max(map(len, lines[1].splitlines())) <= 100
    assert "…" not in lines[1]


def test_hit_k(measured):
    assert "Hit@3" in measured("--hit-k", 3).out
    document = measured("--hit-k", 3, "--json").json
    ranks = document["circuit"]["per_prompt"]["rank"]
    assert document["hit_k"] == 3
    assert document["circuit"]["hit_at_k"] == pytest.approx(sum(rank <= 3 for rank in ranks) / len(ranks))


def test_minimality(measured, circuit_file, model, three_prompts):
    expected = minimality(
        model, Task.as_found(Circuit.load(circuit_file), three_prompts), Circuit.load(circuit_file), seed=3
    ).to_json()
    assert measured("--minimality", "--seed", 3, "--json").json["minimality"] == expected
    assert f"changes kl by {expected['mean_effect']:+.4f} on average" in measured("--minimality").out


def test_halves(measured, circuit_file, model, three_prompts):
    document = measured("--halves", "--minimality", "--split-seed", 2, "--json").json
    assert document["split_seed"] == 2
    circuit = Circuit.load(circuit_file)
    whole = evaluate(model, Task.as_found(circuit, three_prompts), circuit, random_circuits=2)
    assert document["circuit"] == whole.to_json()["circuit"]
    worth = minimality(model, Task.as_found(circuit, three_prompts), circuit)
    for name, prompts in zip(("validation", "test"), half_indices(3, 2), strict=True):
        half = document["halves"][name]
        assert half["minimality"] == worth.on(prompts).to_json()
        assert half["num_prompts"] == len(prompts)
        del half["minimality"]
        assert half == whole.on(prompts).to_json()
    text = measured("--halves").out
    assert text.index("validation half") < text.index("prompts: 2") < text.index("test half")
    assert text.index("test half") < text.index("prompts: 1")


@pytest.mark.parametrize("half", ["validation", "test"])
def test_one_half(measured, circuit_file, model, three_prompts, half):
    document = measured("--half", half, "--json").json
    prompts = split_halves(three_prompts, 0)[half == "test"]
    expected = evaluate(
        model,
        Task.as_found(Circuit.load(circuit_file), prompts),
        Circuit.load(circuit_file),
        random_circuits=2,
    ).to_json()
    del document["input"]
    assert document == expected | {"half": half, "split_seed": 0}


def test_the_halves_are_those_of_the_search(measured, circuit_file):
    found = json.loads(circuit_file.read_text())
    found["settings"] |= {"half": "validation", "split_seed": 2}
    circuit_file.write_text(json.dumps(found))
    assert half_indices(3, 2) != half_indices(3, 0)
    assert measured("--halves", "--json").json["split_seed"] == 2
    assert measured("--half", "test", "--split-seed", 0, "--json").json["split_seed"] == 0
    assert "split_seed" not in measured("--json").json


def test_reference(measured, circuit_file, tmp_path):
    circuit = Circuit.load(circuit_file)
    some = circuit.restrict(np.random.default_rng(0).random(circuit.graph.valid.shape) < 0.5)
    some.save(tmp_path / "some.json")
    areas = measured("--reference", tmp_path / "some.json", "--json").json["reference"]
    expected = {"edge_auc": roc(circuit, some).auc, "node_auc": roc(circuit, some, "node").auc}
    assert areas == {"circuit": expected}
    assert 0.5 < expected["edge_auc"] < 1
    text = measured("--reference", tmp_path / "some.json", "--halves").out
    assert text.count(f"AUC of edges {expected['edge_auc']:.3f}, of nodes {expected['node_auc']:.3f}") == 1


@pytest.mark.parametrize("with_circuit", [False, True])
def test_scores(kcircuits, worded, prompts_file, circuit_file, model, three_prompts, tmp_path, with_circuit):
    module = pytest.importorskip("kcircuits.scores")
    circuit = Circuit.load(circuit_file)
    matrix = np.random.default_rng(1).normal(size=circuit.graph.valid.shape) * circuit.graph.valid
    scores = module.Scores(
        graph=circuit.graph,
        model=circuit.model,
        method="eap",
        settings={"ablation": "corrupt", "metric": "kl"},
        matrix=matrix.astype(np.float32),
    )
    scores.save(tmp_path / "scores.safetensors")
    given = ["--circuit", circuit_file] if with_circuit else []
    arguments = [
        "evaluate", "--scores", tmp_path / "scores.safetensors", *given, "--model", worded, "--prompts",
        prompts_file, "--random", 2, "--signed", "--reference", circuit_file,
    ]  # fmt: skip
    document = kcircuits(*arguments, "--json").json
    curve = size_curve(model, Task.as_found(scores, three_prompts), scores, absolute=False).to_json()
    assert document["curve"] == curve | {
        "random": random_curve(model, Task.as_found(scores, three_prompts), scores, seeds=range(2)).to_json()
    }
    assert document["reference"]["scores"]["edge_auc"] == roc(scores.matrix, circuit).auc
    assert ("faithfulness" in document) == ("circuit" in document["reference"]) == with_circuit
    text = kcircuits(*arguments).out
    assert "share of edges" in text
    assert f"CPR {curve['cpr']:.4f}" in text
    assert max(map(len, text.splitlines())) <= 100


def test_relation(kcircuits, worded, relation_file, circuit_file):
    done = kcircuits(
        "evaluate", "--circuit", circuit_file, "--model", worded, "--relation", relation_file, "--top-k", 0,
        "--random", 0, "--quiet", "--json",
    )  # fmt: skip
    assert done.status == 0
    assert done.json["num_prompts"] == 4
    assert done.json["random"] == []


def test_reference_prompts_are_what_mean_ablation_averages_over(
    kcircuits, worded, prompts_file, circuit_file, tmp_path
):
    model = load_model(worded)
    sizes = model.spec.vocab_size, model.spec.max_positions
    reference_file = tmp_path / "reference.jsonl"
    reference_file.write_text(
        "".join(
            json.dumps({"clean_ids": ids, "answer_id": 1}) + "\n"
            for ids in ([3, 4, 5, 6, 7, 8], [9, 1, 2, 2, 2, 2])
        )
    )
    done = kcircuits(
        "evaluate", "--circuit", circuit_file, "--model", worded, "--prompts", prompts_file,
        "--ablation", "mean", "--reference-prompts", reference_file, "--random", 0, "--minimality", "--json",
    )  # fmt: skip
    prompts = read_prompts(prompts_file, None, *sizes)
    how = {"ablation": "mean", "reference": read_prompts(reference_file, None, *sizes)}
    circuit = Circuit.load(circuit_file)
    expected = evaluate(model, Task.as_found(circuit, prompts, **how), circuit, random_circuits=0)
    assert done.json["circuit"]["metric"] == expected.circuit.mean_metric
    assert (
        done.json["minimality"]
        == minimality(model, Task.as_found(circuit, prompts, **how), circuit).to_json()
    )
    without = evaluate(model, Task.as_found(circuit, prompts, ablation="mean"), circuit, random_circuits=0)
    assert without.circuit.mean_metric != pytest.approx(expected.circuit.mean_metric, abs=1e-3)
