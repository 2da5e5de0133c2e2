"""Standard streams that are closed or full: results are written, and the exit status says what was not."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def in_shell(worded, prompts_file, out, redirections, *more):
    command = [sys.executable, "-m", "kcircuits", "discover", "--model", worded, "--prompts", prompts_file,
               "--threshold", "0.1", "--threads", "1", "--out", out, *more]  # fmt: skip
    return subprocess.run(
        ["bash", "-c", f"{shlex.join(map(str, command))} {redirections}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()} if out.exists() else set()


@pytest.mark.parametrize(
    ("redirections", "status"),
    [("2>&-", 0), ("<&- >&- 2>&-", 0), ("2>/dev/full", 0), (">/dev/full", 2), (">/dev/full 2>&-", 2)],
)
def test_results_are_written(worded, prompts_file, tmp_path, redirections, status):
    out = tmp_path / "out"
    done = in_shell(worded, prompts_file, out, redirections)
    assert done.returncode == status
    assert {"circuit.json", "circuit.dot"} <= names(out)
    assert not any(name.startswith(".") for name in names(out))
    if redirections == ">/dev/full":
        assert done.stderr.splitlines()[-1] == (
            "kcircuits: cannot write to standard output: No space left on device"
        )
        assert "Exception" not in done.stderr and "Traceback" not in done.stderr
    if redirections == "2>&-":
        assert "written:" in done.stdout and "prompts" not in done.stdout  # no message went to stdout


def test_quiet_with_closed_messages(worded, prompts_file, tmp_path):
    done = in_shell(worded, prompts_file, tmp_path / "out", "2>&-", "--quiet")
    assert (done.returncode, done.stdout) == (0, "")
    assert {"circuit.json", "circuit.dot"} <= names(tmp_path / "out")
