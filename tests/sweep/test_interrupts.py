"""Ctrl-C and SIGTERM at any moment of a sweep: what is finished is in the tables."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import sleep

import pyarrow.parquet as pq
import pytest

from kcircuits.sweeps import run
from kcircuits.sweeps.run import sweep
from kcircuits.sweeps.store import Store

ROOT = Path(__file__).resolve().parents[2]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
JOBS = 4


def finished(out: Path) -> list[str]:
    store = Store(out)
    return [key for key in store.jobs.keys() if store.jobs.get(key) is not None]  # noqa: SIM118


def in_tables(out: Path) -> list[str]:
    rows = pq.read_table(out / "summary.parquet").to_pylist()
    assert pq.read_table(out / "timings.parquet")["key"].to_pylist() == [row["key"] for row in rows]
    return [row["key"] for row in rows if row["status"] == "done"]


def start(file: Path, out: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kcircuits", "sweep", str(file), "--out", str(out), "--threads", "1"]
    return subprocess.Popen(
        [*command, "--workers", str(workers)],
        cwd=file.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # also below nohup
    )


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("after_jobs", [1, JOBS])
def test_a_signal_to_all_processes(written, tmp_path, number, after_jobs):
    """As a terminal sends it, some moments after a job; behind the last one tables are written."""
    out = tmp_path / "out"
    delay = random.Random(after_jobs).uniform(0, 0.05) if after_jobs == 1 else 0.0
    process = start(written(), out, 1)
    try:
        assert process.stderr is not None
        for _ in range(after_jobs):
            assert "done" in process.stderr.readline()
        sleep(delay)
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    # When all was done and said before the signal came, there was nothing to be stopped.
    assert process.returncode == STATUS[number] or (after_jobs == JOBS and process.returncode == 0)
    assert "Traceback" not in said and "Error" not in said
    if process.returncode:
        assert said.splitlines()[-1] == "kcircuits: stopped"
    assert len(finished(out)) >= after_jobs
    assert in_tables(out) == finished(out)


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_signal_while_tables_are_written(written, tmp_path, monkeypatch, number, moment):
    real = run.write_tables

    def writing(store):
        if moment == "before":
            os.kill(os.getpid(), number)
        rows = real(store)
        if moment == "after":
            os.kill(os.getpid(), number)
        return rows

    class Came(Exception):
        pass

    def raise_it(*_):
        raise Came

    monkeypatch.setattr(run, "write_tables", writing)
    monkeypatch.chdir(written().parent)
    earlier = signal.signal(number, raise_it)
    try:
        with pytest.raises(Came):
            sweep(Path("sweep.yaml"), tmp_path / "out", workers=0)
        assert signal.getsignal(number) is raise_it
    finally:
        signal.signal(number, earlier)
    assert len(in_tables(tmp_path / "out")) == JOBS


def test_a_second_signal_does_not_cost_the_tables(written, tmp_path, monkeypatch):
    """The first comes while jobs run, the second while their tables are written."""
    real = run.write_tables

    def writing(store):
        os.kill(os.getpid(), signal.SIGINT)
        return real(store)

    def told(update):
        if update.status == "done" and update.done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(run, "write_tables", writing)
    monkeypatch.chdir(written().parent)
    with pytest.raises(KeyboardInterrupt):
        sweep(Path("sweep.yaml"), tmp_path / "out", workers=0, progress=told)
    assert len(in_tables(tmp_path / "out")) == len(finished(tmp_path / "out")) == 2
