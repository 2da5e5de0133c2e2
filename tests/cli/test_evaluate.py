"""`kcircuits evaluate`: what it says and writes."""

from __future__ import annotations

import json

import pytest

from kcircuits.circuit import Circuit
from kcircuits.data.prompts import read_prompts
from kcircuits.evaluate import evaluate
from kcircuits.model.loading import load_model


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
    expected = evaluate(Circuit.load(circuit_file), model, prompts, random_circuits=2, seed=5).to_json()
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


def test_relation(kcircuits, worded, relation_file, circuit_file):
    done = kcircuits(
        "evaluate", "--circuit", circuit_file, "--model", worded, "--relation", relation_file, "--top-k", 0,
        "--random", 0, "--quiet", "--json",
    )  # fmt: skip
    assert done.status == 0
    assert done.json["num_prompts"] == 4
    assert done.json["random"] == []
