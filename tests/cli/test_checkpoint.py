"""Searches in processes of their own that are killed, and go on when they are started again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]  # where another process finds the package, installed or not
# The command line with a checkpoint after every chunk, killed when it has written so many.
KILLED = """
import os, signal, sys
from kcircuits.discovery import checkpoint
checkpoint.SECONDS_BETWEEN, checkpoint.SHARE = 0, 1e9
keep, left = checkpoint.Checkpoint.keep, int(sys.argv.pop(1))

def keep_and_die(self, snapshot):
    global left
    keep(self, snapshot)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.Checkpoint.keep = keep_and_die
from kcircuits.cli import main
main()
"""


def arguments(model: Path, prompts: Path, out: Path) -> list[str]:
    return [
        *("discover", "--model", str(model), "--prompts", str(prompts), "--ablation", "corrupt"),
        *("--threshold", "0.01", "--threads", "1", "--json", "--out", str(out)),
    ]


def start(checkpoints: int, command: list[str]) -> int:
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(checkpoints), *command], cwd=ROOT, capture_output=True, timeout=120
    ).returncode


def results(folder: Path) -> dict[str, bytes]:
    """The files' bytes, but for the seconds."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    seconds = json.loads(files["circuit.json"])["stats"]["seconds"]
    parts = files["circuit.json"].split(f'"seconds": {seconds}'.encode())
    assert len(parts) == 2
    files["circuit.json"] = b"".join(parts)
    return files


@pytest.mark.parametrize(("name", "kills"), [("gpt2", (5, 31)), ("llama_gqa", (17,)), ("gemma2", (40,))])
def test_killed_and_started_again(tiny_folder, prompts_file, tmp_path, kcircuits, name, kills):
    checkpoint = tmp_path / "checkpoints" / "search.ckpt"
    command = arguments(tiny_folder(name), prompts_file, tmp_path / "out")
    assert kcircuits(*arguments(tiny_folder(name), prompts_file, tmp_path / "undisturbed")).status == 0
    for checkpoints in kills:
        assert start(checkpoints, [*command, "--checkpoint", str(checkpoint)]) == -signal.SIGKILL
        assert checkpoint.is_file()
        assert list((tmp_path / "out").iterdir()) == []
    done = kcircuits(*command, "--checkpoint", checkpoint)
    assert (done.status, done.err) == (0, "")
    assert results(tmp_path / "out") == results(tmp_path / "undisturbed")
    assert list(checkpoint.parent.iterdir()) == []  # nothing is left to go on with


def test_a_damaged_checkpoint_is_one_line(tiny_folder, prompts_file, tmp_path, kcircuits):
    (tmp_path / "c").write_text("a diary")
    command = arguments(tiny_folder("gpt2"), prompts_file, tmp_path / "out")
    done = kcircuits(*command, "--checkpoint", tmp_path / "c")
    assert (done.status, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1 and str(tmp_path / "c") in done.err
    assert (tmp_path / "c").read_text() == "a diary"


def test_only_acdc_has_one(tiny_folder, prompts_file, tmp_path, kcircuits):
    done = kcircuits(
        *("discover", "--model", tiny_folder("gpt2"), "--prompts", prompts_file, "--method", "eap"),
        *("--top-n", 5, "--out", tmp_path / "out", "--checkpoint", tmp_path / "c"),
    )
    assert done.status == 2 and "--checkpoint is for acdc alone, got eap" in done.err
    assert list(tmp_path.iterdir()) == []
