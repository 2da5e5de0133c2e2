"""Several processes: the same results, whatever happens to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from kcircuits.scores import Scores
from kcircuits.sweeps import loop
from kcircuits.sweeps.run import sweep

ROOT = Path(__file__).resolve().parents[2]
SEEDS = list(range(6))


@pytest.fixture(scope="module")
def undisturbed(tiny_files, tmp_path_factory) -> bytes:
    """The summary of a sweep of 12 jobs, done in this process."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_files)
        assert sweep(many(), out, workers=0).done == 12
    return (out / "summary.parquet").read_bytes()


def many(**changes):
    entry = {"relation": "relation.json", "top_k": 0, "limit": 2}
    methods = [{"method": "eap", "top_n": [20, 60]}]
    rest = {"ablations": ["corrupt"], "seeds": SEEDS, "analyses": {"evaluate": {"random": 40}}}
    return {"models": ["model"], "prompts": [entry], "methods": methods, **rest, **changes}


def children(of: int | None = None) -> list[int]:
    """The processes that do jobs for a process, by default for this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == (of or os.getpid()) and "spawn_main" in line:
            found.append(int(folder.name))
    return found


def test_the_prompts_of_a_job_shared_by_processes(place, long_prompts, tmp_path, monkeypatch):
    """Bit for bit what one process finds."""
    monkeypatch.chdir(place)
    document = many(prompts=[{"prompts": "long.jsonl"}], seeds=[0], analyses={})
    updates = []
    outs = [tmp_path / name for name in ("one", "three")]
    sweep(document, outs[0], workers=0)
    sweep(document, outs[1], workers=3, threads=1, progress=updates.append)
    assert sum(update.status == "scored" for update in updates) == 3
    folders = [sorted((out / "parts").iterdir()) for out in outs]
    assert [path.name for path in folders[0]] == [path.name for path in folders[1]] and len(folders[0]) == 3
    files = [path / "scores.safetensors" for paths in folders for path in paths]
    one, three = (Scores.load(path).matrix for path in files if path.exists())
    assert (one == three).all()
    summaries = [(out / "summary.parquet").read_bytes() for out in outs]
    assert summaries[0] == summaries[1]


def test_killed_processes(tiny_files, tmp_path, monkeypatch, undisturbed):
    """A job that dies with its process is begun again; one that always does is given up."""
    monkeypatch.chdir(tiny_files)
    monkeypatch.setattr(loop, "RETRIES", 1)  # a process takes seconds to start
    out, bad, unlucky, updates = tmp_path / "out", [], [], []

    def progress(update) -> None:
        updates.append(update)
        if update.status == "running":
            bad[:] = bad or [update.key]
            if update.done == 5 and not unlucky:
                unlucky[:] = [update.key]
            elif update.key != bad[0]:
                return
            for child in children():
                os.kill(child, signal.SIGKILL)

    result = sweep(many(), out, workers=1, threads=1, progress=progress)
    assert children() == []
    assert (result.done, result.failed) == (11, 1)
    (failed,) = (row for row in result.rows if row["status"] == "failed")
    assert failed["key"] == bad[0]
    assert failed["error"] == "its process ended by signal 9, 2 times"
    assert [update.key for update in updates if update.status == "retried"] == [*bad, *unlucky]
    assert (out / "summary.parquet").read_bytes() != undisturbed
    assert sweep(many(), out, workers=0).reused == 11
    assert (out / "summary.parquet").read_bytes() == undisturbed
    assert not list((out / "failed").iterdir())


def test_a_whole_sweep_killed(tiny_files, tmp_path, monkeypatch, undisturbed):
    """Its workers end with it, and the next one goes on."""
    out = tmp_path / "out"
    code = (
        "import sys, kcircuits\n"
        "from tests.sweep.test_processes import many\n"
        "def show(update): print(update.status, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    kcircuits.sweep(many(), sys.argv[1], workers=2, threads=1, progress=show)\n"
    )
    script = tmp_path / "sweep_many.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tiny_files, env=environment)
    assert process.stdout is not None
    while process.stdout.readline() != "done\n":
        assert process.poll() is None
    workers = children(process.pid)
    process.kill()
    process.communicate()
    assert workers
    until = monotonic() + 20
    while any(alive(pid) for pid in workers):
        assert monotonic() < until, "workers outlive their sweep"
        sleep(0.05)
    before = len(list((out / "jobs").iterdir()))
    assert 0 < before < 12
    monkeypatch.chdir(tiny_files)
    sweep(many(), out, workers=0)
    assert (out / "summary.parquet").read_bytes() == undisturbed


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
