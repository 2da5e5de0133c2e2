"""What a machine does to a sweep: memory and disk that run out, for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from kcircuits.sweeps import DiskFullError
from kcircuits.sweeps.run import sweep
from tests.models import build, llama, save
from tests.sweep.test_processes import many
from tests.tasks import random_prompts_of

ROOT = Path(__file__).resolve().parents[2]
# A sweep of one job in a process that may take so many bytes on top of what it has when the job begins.
LIMITED = """
import json, re, resource, sys
from pathlib import Path
from kcircuits.sweeps import sweep

seen = []

def limit(update):
    if update.status == "running" and not seen:
        has = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (has + int(sys.argv[1]), resource.RLIM_INFINITY))
    if update.status == "done":
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    seen.append(update.status)
    print(update.status)

result = sweep(json.loads(sys.argv[2]), "out", workers=0, threads=1, progress=limit)
print(result.rows[0]["status"], result.rows[0]["error"])
"""


def test_memory_that_runs_out(tmp_path):
    """All prompts at once are too much; a quarter of them or so is not."""
    wide = partial(llama, num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=8, hidden_size=128)
    save(build(wide), tmp_path / "model")
    keys = ("clean_ids", "corrupt_ids", "answer_id")
    rows = [{key: getattr(prompt, key) for key in keys} for prompt in random_prompts_of([60] * 40)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = {
        "models": ["model"],
        "prompts": [{"prompts": "prompts.jsonl"}],
        "methods": [{"method": "eap", "top_n": 100, "greedy": True}],
        "ablations": ["corrupt"],
        "memory": "320MiB",
    }
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(100 * 2**20), json.dumps(document)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "done None" and "retried" in lines
    (timing,) = (tmp_path / "out" / "jobs").glob("*/timing.json")
    took = json.loads(timing.read_text())
    assert took["attempts"] == 1 + lines.count("retried")
    assert took["memory"] == 320 * 2**20 >> lines.count("retried")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of a few hundred KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk(tiny_files, small_disk, monkeypatch, workers):
    """One error; what is there is whole; with space the sweep goes on."""
    monkeypatch.chdir(tiny_files)
    out, ballast = small_disk / "out", small_disk / "ballast"
    ballast.write_bytes(b"x" * 200 * 1024)
    with pytest.raises(DiskFullError, match="No space left on device"):
        sweep(many(), out, workers=workers, threads=1)
    there = list((out / "jobs").iterdir())
    assert there and all((folder / "done.json").exists() for folder in there)
    assert not list((out / "failed").glob("*"))
    ballast.unlink()
    updates = []
    found = sweep(many(seeds=[0, 1]), out, workers=0, progress=updates.append)
    assert found.done == 4 and found.reused == min(4, len(there))
