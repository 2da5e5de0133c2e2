"""`kcircuits sizes`: what it writes and says, and what it refuses."""

from __future__ import annotations

import json

import pytest

from kcircuits.data.prompts import read_prompts
from kcircuits.discovery import Acdc, EapIg, EdgePruning
from kcircuits.model.loading import load_model
from kcircuits.sizes import RandomCircuits, SizeComparison, SizeOptions, compare_sizes, methods
from kcircuits.sizes.size_plot import sizes_svg
from kcircuits.task import Task
from tests.cli.test_bad_input import check

SMALL = ["--fractions", "0.1,0.5,1", "--thresholds", "0.5,0.05", "--pruning-fractions", "0.5", "--steps", 8]


@pytest.fixture
def sizes(kcircuits, worded, prompts_file, tmp_path):
    def run(*options):
        arguments = ["--model", worded, "--prompts", prompts_file, "--out", tmp_path / "out"]
        return kcircuits("sizes", *arguments, *options)

    return run


def test_files_are_the_comparison(sizes, worded, prompts_file, tmp_path):
    options = ["--methods", "eap-ig-inputs, acdc,edge-pruning,random", "--metric", "logit-diff", "--seed", 3]
    done = sizes(*SMALL, *options, "--ig-steps", 2, "--random-circuits", 2, "--json")
    assert (done.status, done.err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["sizes.json", "sizes.svg"]
    written = SizeComparison.load(tmp_path / "out" / "sizes.json")
    assert done.json == written.to_json()
    assert (tmp_path / "out" / "sizes.svg").read_text() == sizes_svg(written)

    model = load_model(worded)
    prompts = read_prompts(prompts_file, None, model.spec.vocab_size, model.spec.max_positions)
    expected = compare_sizes(
        model,
        Task(prompts, "corrupt", metric="logit-diff"),
        [EapIg(steps=2), Acdc(), EdgePruning(steps=8, seed=3), RandomCircuits(2, seed=3)],
        options=SizeOptions((0.1, 0.5, 1.0), (0.5, 0.05), (0.5,)),
    )
    assert [(curve.name, curve.points, curve.cpr, curve.cmd) for curve in written.curves] == [
        (curve.name, curve.points, curve.cpr, curve.cmd) for curve in expected.curves
    ]
    given = {"model": str(worded), "prompts": str(prompts_file)}
    words = {"steps": 8, "ig_steps": 2, "random_circuits": 2, "seed": 3}
    assert written.settings == expected.settings | words | {"input": given}


def test_table(sizes):
    done = sizes(*SMALL, "--methods", "eap,acdc,random")
    assert (done.status, done.err) == (0, "3 prompts\n")
    for text in ("corrupt ablation", "eap", "acdc", "random", "CPR", "edges for 0.9", "written: "):
        assert text in done.out
    assert max(len(line) for line in done.out.splitlines() if "written" not in line) <= 100


def test_quiet_and_half(sizes, tmp_path):
    done = sizes(*SMALL, "--methods", "random", "--half", "test", "--quiet")
    assert (done.status, done.out, done.err) == (0, "", "")
    settings = json.loads((tmp_path / "out" / "sizes.json").read_text())["settings"]
    assert (settings["half"], settings["split_seed"], settings["num_prompts"]) == ("test", 0, 1)


def test_every_option_of_a_method_reaches_it(sizes):
    options = ["--methods", "eap,random", "--fractions", "0.2,1", "--device-map", "auto", "--json"]
    plain, fixed = sizes(*options).json, sizes(*options, "--qk-fix", "--senders", "recomputed").json
    assert [each["settings"].get("qk_fix") for each in fixed["methods"]] == [True, None]
    assert fixed["methods"][0]["settings"]["senders"] == "recomputed"
    assert (fixed["settings"]["qk_fix"], "qk_fix" in plain["settings"]) == (True, False)
    assert plain["methods"][0]["points"] != fixed["methods"][0]["points"]
    assert plain["methods"][1]["points"] == fixed["methods"][1]["points"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", ""], "there are no methods to compare"),
        (["--methods", "eap,magic"], "a method must be one of acdc, "),
        (["--methods", "eap,eap"], "the method 'eap' occurs twice"),
        (["--methods", "random,eap", "--metric", "kl"], "eap cannot use the metric kl"),
        (["--fractions", "0.1,many"], "--fractions must be numbers with commas between them, got '0.1,many'"),
        (["--fractions", "0.5"], "fractions must be at least two, rising, above 0 and at most 1"),
        (["--thresholds", "nan"], "thresholds must be numbers, at least 0"),
        (["--pruning-fractions", "2"], "pruning_fractions must be at least one, rising"),
        (["--steps", 0], "steps must be a whole number, at least 1; got 0"),
        (["--random-circuits", 0], "random_circuits must be a whole number, at least 1; got 0"),
        (["--seed", -1], "seed must be a whole number, at least 0; got -1"),
        (["--ablation", "noise"], "'--ablation'"),
        (["--limit", 3], "--limit is for --relation alone"),
        (["--reference-prompts", "x.jsonl"], "--reference-prompts is for mean ablation alone"),
        (["--model", "nowhere"], "model 'nowhere' does not exist"),
        (["--memory", "lots"], "memory must be"),
    ],
)
def test_bad_input(sizes, tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(methods, "measure_curve", lambda *_: pytest.fail("work has begun"))
    check(sizes(*options, "--quiet"), message)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(sizes, tmp_path):
    (tmp_path / "out").write_text("a file")
    check(sizes("--quiet"), "cannot write into the output folder")
