"""Whatever is wrong with the input: status 2, one line on stderr that says it, and nothing written."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from kcircuits.cli import main, run
from kcircuits.discovery.acdc import Acdc
from kcircuits.graph import Graph
from tests.circuits import circuit_of, identity_for

RELATION = ["--relation", "RELATION"]
TEXT = ["--prompt", "In France they speak", "--answer", "French"]
DISCOVER = [
    # Which prompts
    ([], "give one of --prompts, --relation and --prompt; got none"),
    (["--prompts", "PROMPTS", *RELATION], "got --prompts and --relation"),
    (["--prompts", "PROMPTS", "--template", 1], "--template is for --relation alone"),
    (["--prompts", "PROMPTS", "--limit", 1], "--limit is for --relation alone"),
    ([*TEXT, "--top-k", 1], "--top-k is for --relation alone"),
    ([*TEXT, "--shuffle-seed", 1], "--shuffle-seed is for --relation alone"),
    ([*RELATION, "--wrong", "Spanish"], "--wrong is for --prompt alone"),
    (["--prompt", "In France they speak"], "--prompt needs --answer"),
    (["--answer", "French"], "give one of --prompts"),
    # Files of prompts
    (["--prompts", "nowhere.jsonl"], "nowhere.jsonl: cannot read the file of prompts: No such file"),
    (["--prompts", "."], "cannot read"),
    (["--prompts", ""], "has no prompts"),
    (["--prompts", "{"], "line 1: not JSON"),
    (["--prompts", '{"clean": "In France they speak"}'], "line 1: 'answer' is missing"),
    (["--prompts", '{"clean_ids": [61], "answer_id": 1}'], "id 61 is not in the model's vocabulary, 0 to 60"),
    (["--prompts", '{"clean_ids": [1, 2], "corrupt_ids": [1], "answer_id": 1}'], "the corrupt one 1"),
    (["--prompts", json.dumps({"clean_ids": [1] * 65, "answer_id": 1})], "65 tokens, but the model has 64"),
    (
        ["--prompts", '{"clean_ids": [1], "answer_id": 1}', "--ablation", "corrupt"],
        "corrupt ablation needs a corrupt prompt for every prompt, but prompt 1 has none",
    ),
    (
        ["--prompts", '{"clean_ids": [1], "answer_id": 1}', "--metric", "logit-diff"],
        "logit-diff needs a wrong answer for every prompt, but prompt 1 has none",
    ),
    (["--prompts", '{"clean_ids": [1], "answer_id": 1, "wrong_id": 1}'], "the same token, 1"),
    # A prompt as text
    (["--prompt", "In France they speak", "--answer", "Klingon"], "answer 'Klingon' is not in the"),
    (["--prompt", "In France they speak", "--answer", "Spanish French"], "is 2 tokens"),
    (["--prompt", "", "--answer", "French"], "'clean' is empty"),
    ([*TEXT, "--corrupt", "In France they also speak"], "4 tokens and the corrupt one 5"),
    ([*TEXT, "--wrong", "French"], "the answer and the wrong answer are the same token"),
    # Relations
    (["--relation", "planets"], "no relation 'planets'"),
    ([*RELATION, "--template", 2], "has templates 0 to 1, got 2"),
    ([*RELATION, "--limit", 0], "--limit must be a whole number from 1 on, got 0"),
    ([*RELATION, "--top-k", -1], "--top-k must be a whole number from 0 on, got -1"),
    ([*RELATION, "--top-k", 1], "the model has none of the 4 answers"),
    # Halves
    (["--prompts", "PROMPTS", "--half", "training"], "'--half'"),
    (["--prompts", "PROMPTS", "--split-seed", 1], "--split-seed needs a --half"),
    (["--prompts", "PROMPTS", "--half", "test", "--split-seed", -1], "--split-seed must be a whole number"),
    ([*TEXT, "--half", "test"], "two halves need at least 2 prompts, got 1"),
    # The search
    ([*TEXT, "--threshold", -0.5], "threshold must be a finite number, at least 0; got -0.5"),
    ([*TEXT, "--threshold", "nan"], "threshold must be a finite number, at least 0; got nan"),
    ([*TEXT, "--threshold", "inf"], "threshold must be a finite number, at least 0; got inf"),
    ([*TEXT, "--threshold", "small"], "'--threshold'"),
    ([*TEXT, "--metric", "accuracy"], "'--metric'"),
    ([*TEXT, "--ablation", "noise"], "'--ablation'"),
    ([*TEXT, "--method", "magic"], "'--method'"),
    ([*TEXT, "--top-n", 5], "acdc has no option 'top_n'; its options are threshold, absolute"),
    ([*TEXT, "--scores", "scores.safetensors"], "acdc does not score all edges"),
    ([*TEXT, "--method", "eap", "--top-n", 5], "give either a top-n or a threshold"),
    ([*TEXT, "--method", "eap", "--steps", 5], "eap has no option 'steps'; its options are qk_fix"),
    ([*TEXT, "--method", "eap-ig-inputs", "--ig-steps", 0], "ig_steps must be a whole number, at least 1"),
    ([*TEXT, "--method", "eap", "--metric", "kl"], "eap cannot use the metric kl"),
    ([*TEXT, "--method", "clean-corrupted"], "clean-corrupted needs corrupt ablation, got zero"),
    ([*TEXT, "--method", "edge-pruning", "--threshold", 1], "edge-pruning has no option 'threshold'"),
    (
        [*TEXT, "--method", "eap", "--ablation", "corrupt", "--corrupt", "In France they speak"],
        "every corrupt prompt is the same as its clean prompt",
    ),
    ([*TEXT, "--method", "eap", "--ablation", "mean-positional"], "all prompts are the same, so the mean"),
    (
        [*TEXT, "--reference-prompts", "PROMPTS"],
        "--reference-prompts is for mean ablation alone, got none: give --ablation mean",
    ),
    ([*TEXT, "--dtype", "float8"], "'--dtype'"),
    ([*TEXT, "--dtype", "stored"], "dtype stored needs a .gguf file, and "),
    ([*TEXT, "--memory", "lots"], "memory must be a number of bytes or a size such as 8GiB"),
    ([*TEXT, "--memory", "0"], "memory must be a number of bytes or a size such as 8GiB"),
    ([*TEXT, "--threads", 0], "--threads must be a whole number from 1 on, got 0"),
    ([*TEXT, "--tau", 0.1], "--tau"),
    # Model and output
    ([*TEXT, "--model", "nowhere"], "model 'nowhere' does not exist"),
    ([*TEXT, "--model", "."], "no config.json"),
    ([*TEXT, "--model", "UNWORDED"], "this model has no tokenizer"),
    ([*TEXT, "--out", "file"], "cannot write into the output folder"),
    ([*TEXT, "--out", "file/folder"], "cannot write into the output folder"),
]  # fmt: skip


@pytest.fixture
def filled(worded, relation_file, prompts_file, tiny_folder, tmp_path, monkeypatch):
    """Put real paths into a list of arguments; JSON lines become a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("here")
    places = {"RELATION": relation_file, "PROMPTS": prompts_file, "UNWORDED": tiny_folder("llama")}

    def fill(arguments):
        filled = [str(places.get(argument, argument)) for argument in arguments]
        for index, argument in enumerate(filled):
            if index and filled[index - 1] == "--prompts" and argument[:1] in ("", "{"):
                filled[index] = str(tmp_path / "lines.jsonl")
                (tmp_path / "lines.jsonl").write_text(argument)
        defaults = {"--model": worded, "--out": tmp_path / "out", "--threshold": 0.1}
        given = set(filled)
        return filled + [str(x) for pair in defaults.items() if pair[0] not in given for x in pair]

    return fill


def check(done, message):
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("kcircuits: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("arguments", "message"), DISCOVER, ids=[message[:40] for _, message in DISCOVER])
def test_discover(kcircuits, filled, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(Acdc, "search", lambda *_: pytest.fail("the search has begun"))
    filled_in = filled(arguments)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    check(kcircuits("discover", *filled_in, "--quiet"), message)
    assert not (tmp_path / "out").exists()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--circuit", "nowhere.json"], "nowhere.json"),
        (["--circuit", "file"], "not JSON"),
        (["--circuit", "CIRCUIT", "--model", "UNWORDED"], "use the model that it was found in"),
        (["--circuit", "CIRCUIT", "--random", -1], "--random must be a whole number from 0 on, got -1"),
        (["--circuit", "CIRCUIT", "--seed", -1], "--seed must be a whole number from 0 on, got -1"),
        (["--circuit", "CIRCUIT", "--ablation", "noise"], "'--ablation'"),
        (["--circuit", "CIRCUIT", "--hit-k", 0], "--hit-k must be a whole number from 1 on, got 0"),
        (["--circuit", "CIRCUIT", "--halves", "--half", "test"], "leave --half out"),
        (
            ["--circuit", "CIRCUIT", "--halves", "--prompts", "ONE"],
            "two halves need at least 2 prompts, got 1",
        ),
        (["--circuit", "CIRCUIT", "--greedy"], "--greedy is for --scores alone"),
        (["--circuit", "CIRCUIT", "--signed"], "--signed is for --scores alone"),
        (["--circuit", "CIRCUIT", "--reference", "nowhere.json"], "nowhere.json"),
        (["--circuit", "CIRCUIT", "--reference", "OTHER"], "use the model that it was found in"),
        (["--circuit", "NEWER"], "written in the format 'kcircuits/2' by a newer kcircuits"),
        (
            ["--circuit", "a.safetensors"],
            "a.safetensors is a file of scores, not a circuit: give it as --scores",
        ),
        (["--scores", "a.safetensors", "--minimality"], "--minimality needs --circuit"),
        (["--circuit", "CIRCUIT", "--out", "file"], "cannot write into the output folder"),
        ([], "nothing to measure: give --circuit, --scores or both"),
    ],
)
def test_evaluate(kcircuits, worded, tiny_folder, prompts_file, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("here")
    found = tmp_path / "found"
    assert not kcircuits(
        "discover",
        "--model",
        worded,
        "--prompts",
        prompts_file,
        "--threshold",
        0.1,
        "--out",
        found,
        "--quiet",
    ).status
    text = (found / "circuit.json").read_text()
    (tmp_path / "newer.json").write_text(text.replace("kcircuits/1", "kcircuits/2"))
    weights = json.loads(text)["model"]["weights_hash"]
    (tmp_path / "other.json").write_text(text.replace(weights, "0" * 64))
    (tmp_path / "one.jsonl").write_text(prompts_file.read_text().splitlines()[0])
    places = {
        "CIRCUIT": found / "circuit.json",
        "NEWER": tmp_path / "newer.json",
        "OTHER": tmp_path / "other.json",
        "ONE": tmp_path / "one.jsonl",
        "UNWORDED": tiny_folder("llama"),
    }
    filled_in = [places.get(argument, argument) for argument in arguments]
    for name, value in {"--model": worded, "--prompts": prompts_file, "--out": tmp_path / "out"}.items():
        if name not in filled_in:
            filled_in += [name, value]
    check(kcircuits("evaluate", *filled_in, "--json"), message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scores", "message"), [("circuit.json", "circuit.json"), ("other.safetensors", "the model that")]
)
def test_bad_scores(kcircuits, worded, prompts_file, tmp_path, scores, message):
    module = pytest.importorskip("kcircuits.scores")
    graph = Graph(2, 4, 2)
    circuit_of(graph, "input->m0").save(tmp_path / "circuit.json")
    module.Scores(
        graph=graph,
        model=identity_for(graph),
        method="eap",
        settings={},
        matrix=graph.valid.astype(np.float32),
    ).save(tmp_path / "other.safetensors")
    arguments = ["--scores", tmp_path / scores, "--model", worded, "--prompts", prompts_file, "--json"]
    check(kcircuits("evaluate", *arguments, "--out", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "No such command 'fly'"),
        ([], "Missing command"),
        (["discover"], "'--model'"),
        (["discover", "--model", "demo"], "'--out'"),
        (["--loud"], "--loud"),
    ],
)
def test_usage(kcircuits, arguments, message):
    check(kcircuits(*arguments), message)


def test_first_token_takes_answers_of_several(kcircuits, filled, tmp_path):
    arguments = filled(["--prompt", "In France they speak", "--answer", "French Spanish", "--first-token"])
    assert kcircuits("discover", *arguments).status == 0


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (PermissionError(13, "Permission denied"), 2, "kcircuits: [Errno 13] Permission denied\n"),
        (MemoryError(), 1, "kcircuits: not enough memory\n"),
        (
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried"),
            1,
            "not enough memory: you tried\n",
        ),
        (ImportError("the compiled module cannot be loaded"), 1, "kcircuits: the compiled module"),
    ],
)
def test_other_ends(kcircuits, filled, monkeypatch, error, status, line):
    def fail(*_):
        raise error

    monkeypatch.setattr(Acdc, "search", fail)
    done = kcircuits("discover", *filled(TEXT), "--quiet")
    assert (done.status, done.out) == (status, "")
    assert line in done.err
    assert sum("warning: " not in each for each in done.err.splitlines()) == 1  # dot may be missing


def test_errors_in_this_package_keep_their_traceback(filled, monkeypatch):
    def fail(*_):
        raise RuntimeError("index out of range")

    monkeypatch.setattr(Acdc, "search", fail)
    with pytest.raises(RuntimeError, match="index out of range"):
        run(["discover", *filled(TEXT)])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "2000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
    ids=["by default", "limit given", "policy given"],
)
def test_threads_do_not_spin_for_long(monkeypatch, given, expected):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_main_exits_with_the_status(capsys):
    with pytest.raises(SystemExit) as end:
        main(["fly"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "kcircuits: No such command 'fly'. (see --help)\n"
