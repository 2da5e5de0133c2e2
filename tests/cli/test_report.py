"""`kcircuits report`: the page, and that its command lines repeat the results."""

from __future__ import annotations

import json
import shlex

import pytest

from kcircuits.circuit import Circuit
from kcircuits.report.command_line import discover_command, evaluate_command, sizes_command
from kcircuits.sizes import SizeComparison
from tests.cli.test_bad_input import check
from tests.report.results import circuit
from tests.report.test_page import Page

TEXT = ["--prompt", "In France they speak", "--answer", "French", "--corrupt", "In Spain they speak"]


def test_from_discovery_to_the_page(kcircuits, worded, tmp_path):
    out = tmp_path / "out"
    given = ["--model", worded, *TEXT, "--ablation", "corrupt", "--out", out, "--quiet"]
    assert kcircuits("discover", *given, "--threshold", 0.01).status == 0
    assert kcircuits("evaluate", *given, "--circuit", out / "circuit.json", "--random", 2).status == 0
    assert kcircuits("sizes", *given, "--methods", "eap,random", "--fractions", "0.2,1").status == 0
    done = kcircuits("report", out, "--title", "From <France> to French")
    assert (done.status, done.out, done.err) == (0, f"written: {out / 'report.html'}\n", "")
    page = Page((out / "report.html").read_text())
    assert "From <France> to French" in page.text
    for command in ("discover", "evaluate", "sizes", "report"):
        assert f"kcircuits {command} " in page.text
    assert kcircuits("report", out, "--quiet").out == ""
    assert kcircuits("report", out, "--compare", out / "circuit.json", "--quiet").status == 0
    assert "Compared with" in Page((out / "report.html").read_text()).text


def test_readings_of_every_command_and_no_circuit(kcircuits, worded, relation_file, prompts_file, tmp_path):
    out, folders = tmp_path / "out", [tmp_path / name for name in ("strict", "loose")]
    model = ["--model", worded]
    for folder, threshold in zip(folders, (0.3, 0.1), strict=True):
        search = ["discover", *model, "--prompts", prompts_file, "--threshold", threshold, "--quiet"]
        assert kcircuits(*search, "--out", folder).status == 0
    files = [folder / "circuit.json" for folder in folders]
    of_relation = [*model, "--relation", relation_file, "--top-k", 0]
    fact = ["--subject", "France", "--prompt", "In {} they speak", "--target", "Polish", "--true", "French"]
    edit = ["edit", *model, *fact, "--identity", "--prefixes", 0, "--steps", 2, "--layers", 1, "--explain"]
    commands = {
        "hallucination": ["behaviour", "hallucination", *of_relation],
        "icl": ["behaviour", "icl", *of_relation[:-2], "--shots", 1, "--top-n", 60, "--random", 2],
        "knockout": ["knockout", *model, "--circuit", files[1], "--prompts", prompts_file, "--random", 2],
        "overlap": ["compare", *files],
        "edit": edit,
    }
    for words in commands.values():
        done = kcircuits(*words, "--out", out, "--quiet")
        assert (done.status, done.err) == (0, "")
    done = kcircuits("report", out)
    assert (done.status, done.out, done.err) == (0, f"written: {out / 'report.html'}\n", "")
    sections = {each["id"] for each in Page((out / "report.html").read_text()).with_tag("section")}
    assert sections == {*commands, "edits", "repeat"}


SEARCHES = [
    [*TEXT, "--threshold", 0.05, "--absolute", "--metric", "kl"],
    [*TEXT, "--method", "eap-ig-inputs", "--ablation", "corrupt", "--top-n", 20, "--ig-steps", 3, "--signed"],
    [*TEXT, "--method", "eap", "--ablation", "corrupt", "--top-n", 20, "--greedy", "--qk-fix"],
    [*TEXT, "--method", "edge-pruning", "--top-n", 30, "--steps", 9, "--seed", 4, "--dtype", "bfloat16"],
    ["--relation", "RELATION", "--top-k", 0, "--limit", 3, "--shuffle-seed", 2, "--half", "test",
     "--split-seed", 1, "--threshold", 0.05, "--ablation", "corrupt"],
    ["--prompts", "PROMPTS", "--ablation", "mean", "--reference-prompts", "PROMPTS", "--threshold", 0.1],
]  # fmt: skip


@pytest.mark.parametrize("arguments", SEARCHES, ids=lambda arguments: str(arguments[-4:]))
def test_the_command_repeats_the_search(kcircuits, worded, relation_file, prompts_file, tmp_path, arguments):
    places = {"RELATION": relation_file, "PROMPTS": prompts_file}
    filled = [places.get(argument, argument) for argument in arguments]
    assert not kcircuits("discover", "--model", worded, *filled, "--out", tmp_path, "--quiet").status
    first = Circuit.load(tmp_path / "circuit.json")
    again = tmp_path / "a folder; with 'marks'"
    program, *words = shlex.split(discover_command(first.method, first.settings, str(again)))
    assert program == "kcircuits"
    done = kcircuits(*words)
    assert done.status == 0, done.err
    second = Circuit.load(again / "circuit.json")
    assert second.edges == first.edges
    assert second.settings == first.settings


@pytest.mark.parametrize(
    "options",
    [
        ["--random", 2, "--seed", 5, "--hit-k", 3, "--metric", "kl", "--half", "validation"],
        ["--random", 0, "--halves", "--split-seed", 3, "--minimality", "--reference", "CIRCUIT"],
        ["--scores", "SCORES", "--signed", "--greedy", "--ablation", "zero"],
    ],
)
def test_the_command_repeats_the_measures(kcircuits, worded, prompts_file, tmp_path, options):
    given = ["--model", worded, "--prompts", prompts_file, "--out", tmp_path, "--quiet"]
    places = {"CIRCUIT": tmp_path / "circuit.json", "SCORES": tmp_path / "scores.safetensors"}
    search = ["--method", "eap", "--top-n", 30, "--ablation", "corrupt", "--scores", places["SCORES"]]
    assert not kcircuits("discover", *given, *search).status
    filled = [places.get(option, option) for option in options]
    assert not kcircuits("evaluate", *given, "--circuit", places["CIRCUIT"], *filled).status
    first = json.loads((tmp_path / "evaluation.json").read_text())
    command = evaluate_command(first, len(first["random"]), str(places["CIRCUIT"]), str(tmp_path / "again"))
    done = kcircuits(*shlex.split(command)[1:])
    assert done.status == 0, done.err
    assert json.loads((tmp_path / "again" / "evaluation.json").read_text()) == first


def test_the_command_repeats_the_comparison(kcircuits, worded, prompts_file, tmp_path):
    options = ["--methods", "random,eap,acdc", "--fractions", "0.2,1", "--thresholds", "0.3", "--seed", 2]
    given = ["--model", worded, "--prompts", prompts_file, *options, "--keep-positions"]
    assert not kcircuits("sizes", *given, "--out", tmp_path, "--quiet").status
    first = SizeComparison.load(tmp_path / "sizes.json")
    command = sizes_command([curve.name for curve in first.curves], first.settings, str(tmp_path / "again"))
    assert kcircuits(*shlex.split(command)[1:]).status == 0
    second = SizeComparison.load(tmp_path / "again" / "sizes.json")
    assert second.settings == first.settings
    assert [curve.points for curve in second.curves] == [curve.points for curve in first.curves]


@pytest.mark.parametrize("given", [None, {}, {"input": "model"}, {"input": {"model": 3}}, {"input": []}])
def test_no_command_where_the_input_is_not_known(given):
    assert discover_command("acdc", given or {}, "out") is None


def test_what_a_file_says_stays_one_word():
    evil = "x; rm -rf / #`id`$(id)'\""
    settings = circuit(evil).settings | {"threshold": [evil, {"a": 1}], "greedy": {}, "level": evil}
    words = shlex.split(discover_command(evil, settings, evil))
    assert words[:4] == ["kcircuits", "discover", "--model", evil]
    assert words[words.index("--method") + 1] == evil
    assert words[-2:] == ["--out", evil]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["nowhere"], "circuit.json"),
        (["empty"], "empty: nothing to report"),
        (["broken"], "circuit.json: not JSON"),
        (["right", "--compare", "nowhere.json"], "nowhere.json: cannot read the circuit"),
        (["right", "--compare", "broken/circuit.json"], "broken/circuit.json: not JSON"),
        (["right", "--compare"], "requires an argument"),
    ],
)
def test_bad_input(kcircuits, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "circuit.json").write_text("{")
    (tmp_path / "right").mkdir()
    circuit().save(tmp_path / "right" / "circuit.json")
    before = sorted(tmp_path.rglob("*"))
    check(kcircuits("report", *arguments), message)
    assert sorted(tmp_path.rglob("*")) == before
