"""The commands that read a model's runs: their shared options, their files and their errors."""

from __future__ import annotations

import json

import pytest

from kcircuits.analysis.curves.reading import layer_curves
from kcircuits.circuit import Circuit
from kcircuits.data.prompts import read_prompts
from kcircuits.model.loading import load_model
from kcircuits.task import Task
from tests.covers import every_value

ICL = ("--shots", 2, "--random", 2, "--top-n", 40)
COMMANDS = {
    "curves": (),
    "heads": (),
    "roles": ("--random", 2),
    "behaviour hallucination": (),
    "behaviour icl": ICL,
}
"""Every command, with the options that it needs beside a relation."""


@pytest.fixture(scope="module")
def model(worded):
    return load_model(worded)


@pytest.fixture
def circuit_file(kcircuits, worded, prompts_file, tmp_path):
    done = kcircuits(
        "discover", "--model", worded, "--prompts", prompts_file, "--threshold", 0.1,
        "--ablation", "corrupt", "--out", tmp_path / "found", "--quiet",
    )  # fmt: skip
    assert done.status == 0
    return tmp_path / "found" / "circuit.json"


@pytest.fixture
def of_relation(worded, relation_file):
    return ("--model", worded, "--relation", relation_file, "--top-k", 0)


@pytest.fixture
def command_of(of_relation):
    """The words of a command on the relation, by its name."""

    def words(name):
        shared = of_relation[:4] if name == "behaviour icl" else of_relation
        return (*name.split(), *shared, *COMMANDS[name])

    return words


@every_value(name=list(COMMANDS), picture=["svg", "png", "pdf"])
def test_files(kcircuits, command_of, worded, tmp_path, name, picture):
    out = tmp_path / "out"
    command = (*command_of(name), "--out", out, "--picture", picture)
    done = kcircuits(*command, "--json")
    assert (done.status, done.err) == (0, "")
    stem = name.split()[-1]
    assert sorted(path.name for path in out.iterdir()) == sorted([f"{stem}.json", f"{stem}.{picture}"])
    assert json.loads((out / f"{stem}.json").read_text()) == done.json
    assert done.json["settings"]["input"]["model"] == str(worded)
    assert (out / f"{stem}.{picture}").stat().st_size > 1000
    before = (out / f"{stem}.{picture}").read_bytes()
    assert kcircuits(*command, "--quiet").out == ""
    assert (out / f"{stem}.{picture}").read_bytes() == before


def test_a_half_is_the_other_one_of_the_circuit_s(kcircuits, worded, prompts_file, tmp_path):
    given = ["--model", worded, "--prompts", prompts_file]
    search = ["--ablation", "corrupt", "--threshold", 0.1, "--half", "validation", "--split-seed", 1]
    assert kcircuits("discover", *given, *search, "--out", tmp_path).status == 0
    circuit = ["--circuit", tmp_path / "circuit.json"]
    settings = kcircuits("curves", *given, *circuit, "--half", "test", "--json").json["settings"]
    assert (settings["half"], settings["split_seed"], settings["num_prompts"]) == ("test", 1, 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_table_fits_100_columns(kcircuits, command_of, name):
    done = kcircuits(*command_of(name))
    assert done.status == 0
    assert max(map(len, done.out.splitlines())) <= 100
    assert "…" not in done.out


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--picture", "gif"), "--picture"),
        (("--relation", "nowhere.json"), "no relation 'nowhere.json'"),
        (("--limit", 0), "--limit must be a whole number from 1 on, got 0"),
        (("--memory", "much"), "memory must be a number of bytes"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_bad_input(kcircuits, command_of, tmp_path, name, options, message):
    out = tmp_path / "out"
    done = kcircuits(*command_of(name), *options, "--out", out)
    assert (done.status, done.out) == (2, "")
    assert message in done.err.splitlines()[-1]
    assert not out.exists()


@pytest.mark.parametrize("name", ["curves", "heads", "roles"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--circuit", "missing.json"), "missing.json"),
        (("--reference-prompts", "f.jsonl"), "--reference-prompts is for mean ablation alone"),
        (("--prompt", "In France they speak"), "give one of --prompts, --relation and --prompt"),
        (("--subject", "France"), "--subject is for --prompt alone"),
    ],
)
def test_bad_input_about_circuits(kcircuits, of_relation, name, options, message):
    done = kcircuits(name, *of_relation, *options)
    assert (done.status, done.out) == (2, "")
    assert message in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("heads", "--relation", "RELATION", "--top-k", 0, "--nodes", "a9.h9"), "no sender 'a9.h9'"),
        (("roles", "--prompts", "PROMPTS"), "prompt 1 has none"),
        (("behaviour", "icl", "--relation", "RELATION", "--shots", 5), "shots is 5"),
    ],
)
def test_what_is_found_bad_later_leaves_no_folder(
    kcircuits, worded, relation_file, prompts_file, tmp_path, command, message
):
    files = {"RELATION": relation_file, "PROMPTS": prompts_file}
    words = [files.get(word, word) for word in command]
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.mkdir()
    for out in (there, missing):
        done = kcircuits(*words, "--model", worded, "--out", out)
        assert (done.status, done.out) == (2, "")
        assert message in done.err
    assert there.exists()
    assert not missing.exists()


def test_curves_of_a_circuit(kcircuits, worded, model, prompts_file, circuit_file):
    done = kcircuits(
        "curves", "--model", worded, "--prompts", prompts_file, "--circuit", circuit_file, "--json"
    )
    prompts = read_prompts(prompts_file, None, model.spec.vocab_size, model.spec.max_positions)
    circuit = Circuit.load(circuit_file)
    expected = layer_curves(model, Task.as_found(circuit, prompts), circuit).to_json()
    expected["settings"]["input"] = {
        "model": str(worded), "prompts": str(prompts_file), "circuit": str(circuit_file)
    }  # fmt: skip
    assert done.json == expected
    assert expected["settings"]["ablation"] == "corrupt"


def test_the_subject_of_one_prompt(kcircuits, worded):
    done = kcircuits(
        "curves", "--model", worded, "--prompt", "In France they speak", "--answer", "French",
        "--subject", "France", "--json",
    )  # fmt: skip
    (prompt,) = done.json["prompts"]
    assert [prompt["tokens"][place] for place in range(*prompt["subject"])] == ["France"]


def test_heads_of_a_circuit(kcircuits, worded, prompts_file, circuit_file):
    command = ("heads", "--model", worded, "--prompts", prompts_file, "--circuit", circuit_file)
    done = kcircuits(*command, "--into", "logits", "--top", 2)
    assert done.status == 0
    assert "into logits" in done.out
    document = kcircuits(*command, "--nodes", "m1, a0.h2", "--json").json
    assert {node["node"] for node in document["prompts"][0]["nodes"]} == {"m1", "a0.h2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--nodes", "a9.h9"), "no sender 'a9.h9'"),
        (("--into", "m1"), "lists edges of a circuit: give a circuit"),
        (("--top", 0), "--top"),
    ],
)
def test_bad_input_to_heads(kcircuits, of_relation, options, message):
    done = kcircuits("heads", *of_relation, *options)
    assert (done.status, done.out) == (2, "")
    assert message in done.err.splitlines()[-1]


@pytest.mark.parametrize("name", ["curves", "heads"])
def test_an_ablation_needs_a_circuit(kcircuits, of_relation, name):
    done = kcircuits(name, *of_relation, "--ablation", "zero")
    assert (done.status, done.out) == (2, "")
    assert "--ablation is of a circuit's absent edges" in done.err


def test_roles_without_a_circuit(kcircuits, of_relation, prompts_file):
    done = kcircuits("roles", *of_relation, "--ablation", "mean", "--strongest", 3, "--random", 2, "--json")
    assert len(done.json["heads"]) == 3
    assert done.json["settings"]["ablation"] == "mean"
    done = kcircuits("roles", *of_relation[:2], "--prompts", prompts_file)
    assert (done.status, done.out) == (2, "")
    assert "prompt 1 has none" in done.err


def test_a_rank_limit(kcircuits, of_relation):
    command = ("behaviour", "hallucination", *of_relation)
    every = kcircuits(*command, "--json").json
    ranks = [prompt["runs"]["right"]["rank"][-1] for prompt in every["prompts"]]
    limit = int(min(ranks))
    beyond = sum(rank > limit for rank in ranks)
    assert 0 < beyond < len(ranks)
    document = kcircuits(*command, "--rank-limit", limit, "--json").json
    assert len(document["prompts"]) == len(ranks) - beyond
    assert (document["settings"]["rank_limit"], document["settings"]["beyond_rank_limit"]) == (limit, beyond)
    assert document["settings"]["input"]["rank_limit"] == limit
    first = kcircuits(*command, "--rank-limit", limit).out.splitlines()[0]
    assert first.startswith(f"errors: {len(ranks) - beyond} of {every['settings']['num_prompts']} prompts; ")
    assert first.endswith(f"left out, as the right answer's rank is above {limit}")
    done = kcircuits(*command, "--rank-limit", 0)
    assert (done.status, done.out) == (2, "")
    assert "--rank-limit" in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shots", 5), "shots is 5"),
        (("--ablation", "corrupt"), "--ablation"),
        (("--method", "acdc"), "--method"),
        (("--prompts", "f.jsonl"), "--prompts"),
    ],
)
def test_bad_input_to_icl(kcircuits, of_relation, options, message):
    done = kcircuits("behaviour", "icl", *of_relation[:4], *options)
    assert (done.status, done.out) == (2, "")
    assert message in done.err.splitlines()[-1]


def test_icl_needs_a_relation(kcircuits, worded):
    done = kcircuits("behaviour", "icl", "--model", worded)
    assert (done.status, done.out) == (2, "")
    assert "--relation" in done.err
