"""`kcircuits knockout`: what it writes and says, and what it refuses."""

from __future__ import annotations

import json

import pytest

from kcircuits.analysis.knockout.reading import knockout
from kcircuits.analysis.knockout.text_windows import RunningText
from kcircuits.circuit import Circuit
from kcircuits.data.prompts import read_prompts
from kcircuits.data.relations import load_relation, relation_prompts
from kcircuits.model.loading import load_model
from kcircuits.task import Task
from tests.cli.test_bad_input import check

TEXT = "In France they also speak Spanish In Italy they speak Italian"


@pytest.fixture(scope="module")
def model(worded):
    return load_model(worded)


@pytest.fixture
def found(kcircuits, worded, prompts_file, tmp_path):
    """Circuits of the same prompts: a strict one, and a looser one with more edges."""
    paths = {}
    for name, threshold in (("strict", 0.3), ("loose", 0.1)):
        options = ["--model", worded, "--prompts", prompts_file, "--ablation", "zero", "--quiet"]
        options += ["--threshold", threshold]
        assert kcircuits("discover", *options, "--out", tmp_path / name).status == 0
        paths[name] = tmp_path / name / "circuit.json"
    return paths


@pytest.fixture
def command(worded, prompts_file, found):
    return ["knockout", "--model", worded, "--circuit", found["loose"], "--prompts", prompts_file]


@pytest.fixture
def text_file(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


@pytest.mark.parametrize("picture", ["svg", "png", "pdf"])
def test_files_are_the_knockout(kcircuits, command, found, model, prompts_file, text_file, tmp_path, picture):
    out = tmp_path / "out"
    others = tmp_path / "others.jsonl"
    others.write_text(prompts_file.read_text().splitlines()[1])
    options = ["--other", others, "--other", prompts_file, "--text", text_file, "--text-tokens", 8,
               "--private-of", found["strict"], "--random", 2, "--seed", 1, "--hit-k", 3,
               "--picture", picture]  # fmt: skip
    done = kcircuits(*command, *options, "--out", out, "--json")
    assert (done.status, done.err) == (0, "")
    prompts = read_prompts(prompts_file, None, model.spec.vocab_size, model.spec.max_positions)
    circuit = Circuit.load(found["loose"])
    expected = knockout(
        model, Task.as_found(circuit, prompts), circuit,
        others={"others": prompts[1:2], "prompts": prompts}, text=RunningText(TEXT, tokens=8),
        private_of=[Circuit.load(found["strict"])], random_circuits=2, seed=1, hit_k=3,
    ).to_json()  # fmt: skip
    printed = done.json
    assert printed["settings"].pop("input")["other"] == [str(others), str(prompts_file)]
    assert printed == expected
    written = json.loads((out / "knockout.json").read_text())
    assert written["effects"] == expected["effects"]
    assert written["settings"]["input"]["text"] == str(text_file)
    assert sorted(path.name for path in out.iterdir()) == ["knockout.json", f"knockout.{picture}"]


def test_another_relation(kcircuits, command, worded, model, relation_file, found):
    relation = ["--relation", relation_file, "--top-k", 0, "--limit", 3]
    command = ["knockout", "--model", worded, "--circuit", found["loose"], *relation]
    done = kcircuits(*command, "--other", relation_file, "--random", 0, "--json")
    assert done.status == 0
    own, other = done.json["effects"]
    assert (own["prompts"], other["prompts"]) == ("own", "relation")
    assert own["num_prompts"] == other["num_prompts"] == 3
    assert own["knockout"] == other["knockout"]
    prompts = relation_prompts(load_relation(relation_file), model.tokenizer, 61, 64).prompts[:3]
    circuit = Circuit.load(found["loose"])
    expected = knockout(model, Task.as_found(circuit, prompts), circuit, random_circuits=0)
    assert own["full"]["per_prompt"]["rank"] == list(expected.effects[0].full.rank)


def test_table(kcircuits, command, text_file):
    done = kcircuits(*command, "--text", text_file)
    assert done.status == 0
    for text in ("edges removed; zero ablation", "own (3)", "Hit@10", "NLL", "text (10 tokens)", "perplexity",
                 "without 5 random circuits"):  # fmt: skip
        assert text in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    assert "\u2026" not in done.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--circuit", "missing.json"], "missing.json"),
        (["--private-of", "missing.json"], "missing.json"),
        (["--private-of", "OWN"], "no edges of its own"),
        (["--other", "planets"], "no relation 'planets'"),
        (["--other", "missing.jsonl"], "missing.jsonl: cannot read the file of prompts: No such file"),
        (["--other", "PROMPTS", "--other", "PROMPTS"], "two of --other are called 'prompts'"),
        (["--text", "missing.txt"], "missing.txt: cannot read the text: No such file"),
        (["--random", -1], "--random must be a whole number from 0 on, got -1"),
        (["--hit-k", 0], "--hit-k must be a whole number from 1 on, got 0"),
        (["--text-tokens", 0], "--text-tokens must be a whole number from 1 on, got 0"),
        (["--picture", "gif"], "'--picture'"),
        (["--ablation", "corrupt", "--text", "PROMPTS"], "a text has no corrupt prompts"),
    ],
)
def test_bad_input(kcircuits, command, found, prompts_file, options, message):
    files = {"OWN": found["loose"], "PROMPTS": prompts_file}
    given = [files.get(option, option) for option in options]
    check(kcircuits(*command, *given, "--quiet"), message)


def test_a_circuit_is_needed(kcircuits, worded, prompts_file):
    check(
        kcircuits("knockout", "--model", worded, "--prompts", prompts_file),
        "there is nothing to knock out: give --circuit",
    )
