"""Every reader keeps its promise on a few files that are nearly right; `make fuzz` tries many more."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def fuzz(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Fuzz in another process, as a reader that breaks its promise may end it."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", *arguments, "--keep", str(tmp_path / "examples")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("group", "examples"), [("light", 20), ("models", 16), ("gguf", 14)])
def test_readers_keep_their_promise(tmp_path, group, examples):
    done = fuzz(tmp_path, group, "--examples", str(examples))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_promise_is_found_and_its_file_kept(tmp_path):
    done = fuzz(tmp_path, "tests.fuzz.faulty", "--examples", "5")
    assert done.returncode == -signal.SIGABRT  # by the last one
    said = {part.split(":")[0]: part for part in re.split(r"^(?=\w+: /)", done.stdout, flags=re.M)}
    for reader, says in {
        "raises": "ValueError: not ours",
        "chats": "more than a line",
        "swells": "MemoryError",
        "writes": "it wrote",
        "ends": "",
    }.items():
        assert says in said[reader]
        assert (tmp_path / "examples" / reader / "file").exists()
