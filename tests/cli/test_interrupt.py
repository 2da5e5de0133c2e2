"""Ctrl-C and progress, in a process of its own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from kcircuits.discovery.acdc import Acdc
from tests.models import build, llama, save

ROOT = Path(__file__).resolve().parents[2]  # where another process finds the package, installed or not
# The command line with a line of progress after every chunk.
TALKATIVE = """
import kcircuits.display.progress
kcircuits.display.progress.SECONDS_BETWEEN_LINES = 0
from kcircuits.cli import main
main()
"""


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory) -> Path:
    """A model that keeps a search at τ = 0 busy for minutes."""
    wide = partial(llama, num_hidden_layers=10, num_attention_heads=8, num_key_value_heads=8, hidden_size=64)
    return save(build(wide), tmp_path_factory.mktemp("slow") / "model")


def start(slow_model, prompts_file, out, stderr=subprocess.PIPE, *options):
    arguments = [
        "discover",
        "--model",
        slow_model,
        "--prompts",
        prompts_file,
        "--threshold",
        "0",
        "--out",
        out,
    ]
    return subprocess.Popen(
        [sys.executable, "-c", TALKATIVE, *map(str, arguments), "--threads", "1", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=ROOT,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # also below nohup
    )


def test_ctrl_c_in_the_search(slow_model, prompts_file, tmp_path):
    process = start(slow_model, prompts_file, tmp_path / "out")
    assert process.stderr is not None
    try:
        lines = [process.stderr.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert lines[0] == "3 prompts\n"
    assert "edges left" in lines[2] and "tests/s" in lines[2]
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "kcircuits: stopped"
    assert "Traceback" not in err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3, 0.6])
def test_ctrl_c_at_the_start(slow_model, prompts_file, tmp_path, seconds):
    """While torch and the model are being loaded: imports run code of their own, which Ctrl-C may hit."""
    timer = f"threading.Timer({seconds}, os.kill, (os.getpid(), signal.SIGINT)).start()"
    code = f"import os, signal, threading\nfrom kcircuits.cli import main\n{timer}\nmain()"
    arguments = ["discover", "--model", slow_model, "--prompts", prompts_file, "--threshold", "0"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "kcircuits: stopped"
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_live_bar_on_a_terminal(slow_model, prompts_file, tmp_path):
    ours, theirs = pty.openpty()
    process = start(slow_model, prompts_file, tmp_path / "out", theirs)
    os.close(theirs)
    seen = b""
    try:
        while b"tests/s" not in seen:
            seen += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        while chunk := _read(ours):
            seen += chunk
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        os.close(ours)
        process.communicate()
    assert b"\x1b[?25h" in seen  # the cursor is back
    assert seen.rstrip().endswith(b"kcircuits: stopped")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other side is closed
        return b""


def test_ctrl_c_leaves_earlier_results_alone(kcircuits, worded, prompts_file, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    (tmp_path / "circuit.json").write_text("earlier")
    monkeypatch.setattr(Acdc, "search", interrupt)
    done = kcircuits(
        "discover",
        "--model",
        worded,
        "--prompts",
        prompts_file,
        "--threshold",
        0.1,
        "--out",
        tmp_path,
        "--json",
    )
    assert (done.status, done.out) == (130, "")
    assert [path.name for path in tmp_path.iterdir()] == ["circuit.json"]
    assert (tmp_path / "circuit.json").read_text() == "earlier"
