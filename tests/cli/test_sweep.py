"""`kcircuits sweep`: what it prints, where, and its exit status."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from kcircuits.sweeps import DiskFullError
from kcircuits.sweeps.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sweep_file(worded, relation_file, tmp_path) -> Path:
    """Two jobs."""
    document = {
        "models": [str(worded)],
        "prompts": [{"relation": str(relation_file), "top_k": 0, "limit": 2}],
        "methods": [{"method": "eap", "top_n": [20, 60]}],
        "ablations": ["corrupt"],
        "analyses": {"evaluate": {"random": 2}},
    }
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def change(sweep_file, **changes):
    sweep_file.write_text(yaml.safe_dump(yaml.safe_load(sweep_file.read_text()) | changes))


def test_a_sweep(kcircuits, sweep_file, tmp_path):
    out = tmp_path / "out"
    done = kcircuits("sweep", sweep_file, "--out", out, "--workers", 0, "--threads", 1)
    assert done.status == 0
    assert done.out.splitlines() == [
        "2 jobs done, 0 of them before; 0 failed",
        f"written: {out / 'summary.parquet'}, {out / 'timings.parquet'}",
    ]
    lines = done.err.splitlines()
    assert len(lines) == 2 and lines[0].startswith(
        "1 of 2  done: model, country language, eap top_n=20, corrupt"
    )
    again = kcircuits("sweep", sweep_file, "--out", out, "--workers", 0, "--json")
    assert (again.status, again.err) == (0, "")
    assert again.json["reused"] == again.json["done"] == 2
    assert again.json["jobs"] == pq.read_table(out / "summary.parquet").to_pylist()
    assert kcircuits("sweep", sweep_file, "--out", out, "--workers", 0, "--quiet").out == ""


def test_a_dry_run(kcircuits, sweep_file, tmp_path):
    done = kcircuits("sweep", sweep_file, "--out", tmp_path / "out", "--dry-run")
    assert done.status == 0 and not (tmp_path / "out").exists()
    assert "0 done, 2 left, 0 refused; about" in " ".join(done.out.split()) and "left" in done.out
    found = kcircuits("sweep", sweep_file, "--out", tmp_path / "out", "--dry-run", "--json").json
    assert found["left"] == 2 and len(found["jobs"]) == 2


def test_failing_jobs(kcircuits, sweep_file, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("it broke")

    monkeypatch.setattr("kcircuits.sweeps.work.attribute", fail)
    done = kcircuits("sweep", sweep_file, "--out", tmp_path / "out", "--workers", 0)
    assert done.status == 1
    assert done.out.startswith("0 jobs done, 0 of them before; 2 failed\n")
    last = done.err.splitlines()[-1]
    assert last.startswith(
        "kcircuits: 2 of 2 jobs failed, such as model, country language, eap: RuntimeError: it broke"
    )


def test_a_full_disk(kcircuits, sweep_file, tmp_path, monkeypatch):
    def full(*_, **__):
        raise DiskFullError("cannot write x: No space left on device")

    monkeypatch.setattr("kcircuits.sweeps.sweep", full)
    done = kcircuits("sweep", sweep_file, "--out", tmp_path / "out")
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "kcircuits: cannot write x: No space left on device: what is finished is kept; make space, and start "
        "the sweep again\n"
    )


def test_bad_input(kcircuits, sweep_file, tmp_path):
    out = tmp_path / "out"
    with Store(out).lock():
        done = kcircuits("sweep", sweep_file, "--out", out, "--workers", 0)
    assert done.status == 2 and "another sweep is running in" in done.err
    change(sweep_file, method=["acdc"])
    done = kcircuits("sweep", sweep_file, "--out", tmp_path / "new")
    assert done.status == 2 and not (tmp_path / "new").exists()
    assert done.err.count("\n") == 1 and "method: unknown key" in done.err and "(line" in done.err
    assert kcircuits("sweep", tmp_path / "none.yaml", "--out", out).status == 2


def test_ctrl_c_and_a_live_table(sweep_file, tmp_path):
    """On a terminal, whose Ctrl-C reaches the workers as well: 130, no traceback, and finished jobs stay."""
    change(sweep_file, seeds=list(range(300)))
    out = tmp_path / "out"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kcircuits", "sweep", str(sweep_file), "--out", str(out), "--threads", "1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # also below nohup
    )
    os.close(theirs)
    seen = b""
    try:
        while seen.count(b"done:") < 3:
            seen += os.read(ours, 4096)
        os.killpg(process.pid, signal.SIGINT)
        while chunk := _read(ours):
            seen += chunk
        assert process.wait(timeout=60) == 130
        assert process.stdout is not None and process.stdout.read() == ""
    finally:
        process.kill()
        os.close(ours)
        process.communicate()
    assert b"running" in seen and b"to go" in seen
    assert b"Traceback" not in seen and seen.rstrip().endswith(b"kcircuits: stopped")
    assert b"\x1b[?25h" in seen  # the cursor is back
    store = Store(out)
    whole = [key for key in store.jobs.keys() if store.jobs.get(key) is not None]  # noqa: SIM118
    assert 3 <= len(whole) == pq.read_table(out / "summary.parquet").num_rows < 600


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other side is closed
        return b""
