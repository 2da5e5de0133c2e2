"""A disk that fills up while a command writes its results: all of them are there, or none, and it says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kcircuits.cli import results
from kcircuits.files.writing import write_atomically
from kcircuits.graph import Graph
from tests.circuits import circuit_of

TINY = Graph(num_layers=2, num_heads=2, num_kv_heads=1)


@pytest.fixture
def fills_up(monkeypatch, tmp_path):
    """Let only so many files be written into a folder from now on."""

    def after(number: int) -> None:
        real, count = os.fsync, []

        def fsync(descriptor: int) -> None:
            if str(tmp_path / "out") in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
                count.append(descriptor)
            if len(count) > number:
                raise OSError(28, "No space left on device")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

    return after


@pytest.fixture
def commands(worded, prompts_file, relation_file, tmp_path):
    """Commands that write several files, which are written in this order."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        circuit_of(TINY, "input->m0 2", "m0->logits 2").save(tmp_path / name / "circuit.json")
    prompts = ("--model", worded, "--prompts", prompts_file)
    return {
        "discover": (
            ("discover", *prompts, "--quiet", "--method", "eap", "--ablation", "corrupt",
             "--threshold", 0.001, "--scores", tmp_path / "out" / "scores.safetensors"),
            ["scores.safetensors", "circuit.json", "circuit.dot"],
        ),
        "compare": (
            ("compare", tmp_path / "first" / "circuit.json", tmp_path / "second" / "circuit.json"),
            ["comparison.json", "comparison.svg"],
        ),
        "curves": (
            ("curves", "--model", worded, "--relation", relation_file, "--top-k", 0),
            ["curves.json", "curves.svg"],
        ),
        "sizes": (
            ("sizes", *prompts, "--methods", "random", "--fractions", "0.2,0.5", "--ablation", "corrupt"),
            ["sizes.json", "sizes.svg"],
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["discover", "compare", "curves", "sizes"])
def test_all_or_nothing(kcircuits, commands, fills_up, tmp_path, name):
    command, files = commands[name]
    out = tmp_path / "out"
    out.mkdir()
    (out / files[-2]).write_text("old")
    fills_up(len(files) - 1)
    done = kcircuits(*command, "--out", out)
    assert done.status == 2
    assert f"cannot write {out / files[-1]}: No space left on device" in done.err
    assert "written:" not in done.out
    assert [path.name for path in out.iterdir()] == [files[-2]]
    assert (out / files[-2]).read_text() == "old"


def test_a_picture_that_does_not_fit_is_said_so(kcircuits, commands, fills_up, tmp_path, monkeypatch):
    """It costs the results nothing; drawn without graphviz here."""
    monkeypatch.setattr(results, "drawable", lambda: True)
    monkeypatch.setattr(results, "draw", lambda _, path: write_atomically(path, "<svg/>"))
    command, files = commands["discover"]
    out = tmp_path / "out"
    fills_up(len(files))
    done = kcircuits(*command, "--out", out)
    assert done.status == 0
    assert f"warning: cannot write {out / 'circuit.svg'}: No space left on device" in done.err
    assert sorted(path.name for path in out.iterdir()) == sorted(files)
