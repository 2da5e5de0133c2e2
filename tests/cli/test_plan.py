"""`kcircuits plan`: what it says."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.parametrize("method", ["acdc", "eap-ig-inputs", "edge-pruning", "ifr"])
def test_lines(kcircuits, worded, prompts_file, method):
    done = kcircuits("plan", "--model", worded, "--prompts", prompts_file, "--method", method)
    assert (done.status, done.err) == (0, "3 prompts\n")
    for text in ("190 edges", "weights", "senders", "workspace", "peak", "time"):
        assert text in done.out


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (("--memory", "1KiB"), "from which the senders are recomputed 3 times"),
        (("--senders", "bfloat16"), "in bfloat16, which changes the scores a little; read 1 times"),
    ],
)
def test_the_layout_of_the_senders_is_said(kcircuits, worded, prompts_file, how, text):
    done = kcircuits(
        "plan", "--model", worded, "--prompts", prompts_file, "--method", "eap", "--no-time", *how
    )
    assert done.status == 0
    assert text in done.out


def test_it_takes_the_options_of_discover(kcircuits, worded, prompts_file, tmp_path):
    given = ["--model", worded, "--prompts", prompts_file, "--method", "eap", "--ablation", "mean"]
    given += ["--top-n", 60, "--greedy", "--signed", "--reference-prompts", prompts_file, "--keep-positions"]
    planned = kcircuits("plan", *given, "--half", "validation", "--no-time", "--json").json
    assert (planned["num_prompts"], planned["method"]) == (2, "eap") and planned["means"] > 0
    assert kcircuits("discover", *given, "--half", "validation", "--out", tmp_path).status == 0
    assert "eap has no option 'steps'" in kcircuits("plan", *given, "--steps", 3).err


def test_what_is_more_than_the_machine_has_is_said(kcircuits, worded, prompts_file, monkeypatch):
    how = ("plan", "--model", worded, "--prompts", prompts_file, "--method", "eap", "--no-time")
    assert "this machine has" not in kcircuits(*how).out
    monkeypatch.setattr(sys.modules["kcircuits.planning.plan"], "available_memory", lambda: 2**10)
    done = kcircuits(*how)
    assert done.status == 0
    assert "this machine has 0.0 MiB left for what comes on top of the weights" in done.out


def test_json_without_time(kcircuits, worded, prompts_file, tmp_path):
    done = kcircuits(
        "plan", "--model", worded, "--prompts", prompts_file, "--method", "eap-ig-inputs", "--ig-steps", 7,
        "--no-time", "--json",
    )  # fmt: skip
    assert (done.json["runs"], done.json["seconds"], done.json["num_prompts"]) == (7, None, 3)


def test_a_device_map(kcircuits, worded, prompts_file, tmp_path):
    file = tmp_path / "map.json"
    how = (
        "plan",
        "--model",
        worded,
        "--prompts",
        prompts_file,
        "--method",
        "eap",
        "--no-time",
        "--device-map",
    )
    file.write_text('{"0": "cpu", "1": "cpu", "2": "cpu"}')
    assert kcircuits(*how, file).status == kcircuits(*how, "auto").status == 0
    file.write_text('{"0": "cpu"}')
    done = kcircuits(*how, file)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("kcircuits: the device map has no device for layer 1 of 3")


def test_bad_input(kcircuits, worded, prompts_file):
    done = kcircuits("plan", "--model", worded, "--prompts", prompts_file, "--memory", "lots")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("kcircuits: memory must be a number of bytes or a size such as 8GiB")


def test_the_expected_time(kcircuits, worded, prompts_file):
    how = ("plan", "--model", worded, "--prompts", prompts_file)
    done = kcircuits(*how)
    assert done.status == 0
    assert "the probe ran the whole search" in done.out
    assert "time at most  about" in done.out
    assert "if every edge had to be tested" in done.out
    without = kcircuits(*how, "--no-probe")
    assert without.status == 0
    assert "the probe" not in without.out
    told = kcircuits(*how, "--json").json
    assert told["expected_low"] <= told["expected_seconds"] <= told["expected_high"]
    assert kcircuits(*how, "--json", "--no-probe").json["expected_seconds"] is None
