"""Jobs on Ray actors: the same results, whatever happens to them. One local cluster for all that need one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.sweeps import ray_cluster
from kcircuits.sweeps.pool import Finished, Moved, Started
from kcircuits.sweeps.run import sweep
from kcircuits.sweeps.store import Store
from tests.sweep.test_processes import alive, many

ROOT = Path(__file__).resolve().parents[2]
SWEEP = [sys.executable, "-m", "kcircuits", "sweep", "s.yaml"]
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def cluster():
    """The module `ray`, connected to a cluster of this machine with two CPUs."""
    with ray_cluster.connect("local", 2) as ray:
        yield ray


def document(**changes):
    """Four jobs."""
    return many(seeds=[0, 1], **changes)


@pytest.fixture(scope="module")
def undisturbed(tiny_files, tmp_path_factory) -> dict[str, bytes]:
    """The summaries of the jobs by dtype, done in this process."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        out = tmp_path_factory.mktemp("undisturbed") / "out"
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tiny_files)
            models = [{"model": "model", "dtype": dtype}]
            assert sweep(document(models=models), out, workers=0, threads=1).done == 4
        found[dtype] = (out / "summary.parquet").read_bytes()
    return found


def actors() -> list[int]:
    """The processes of actors that do jobs; Ray names them by their class and what they do."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_text()
        except OSError:
            continue
        if line.startswith("ray::Worker"):
            found.append(int(folder.name))
    return found


@needs_ray
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_summary(tiny_files, tmp_path, monkeypatch, cluster, undisturbed, dtype):
    """From weights in the mapped file, and from those that were converted, in the object store."""
    monkeypatch.chdir(tiny_files)
    puts = []
    put = cluster.put
    monkeypatch.setattr(cluster, "put", lambda value: puts.append(value) or put(value))
    updates = []
    models = [{"model": "model", "dtype": dtype}]
    out = tmp_path / "out"
    found = sweep(document(models=models), out, workers=2, threads=1, ray="auto", progress=updates.append)
    assert found.done == 4
    assert (out / "summary.parquet").read_bytes() == undisturbed[dtype]
    assert len(puts) == (dtype == "bfloat16")  # once, for all actors
    assert {update.status for update in updates} == {"running", "done"}
    assert not list((out / "scratch").iterdir())


@needs_ray
def test_a_killed_actor(tiny_files, tmp_path, monkeypatch, cluster, undisturbed):
    monkeypatch.chdir(tiny_files)
    out, killed, retried = tmp_path / "out", [], []

    def progress(update) -> None:
        if update.status == "running" and update.done == 1 and not killed:
            killed.extend(actors())
            for process in killed:
                os.kill(process, signal.SIGKILL)
        if update.status == "retried":
            retried.append(update.message)

    assert sweep(document(), out, workers=1, threads=1, ray="auto", progress=progress).done == 4
    assert killed and retried == ["its Ray actor ended"]
    assert (out / "summary.parquet").read_bytes() == undisturbed["float32"]


@needs_ray
def test_nodes_that_cannot_be_used(tiny_files, tmp_path, monkeypatch, cluster):
    from kcircuits.sweeps import ray_pool

    monkeypatch.chdir(tiny_files)
    updates = []

    def refused(match, **options):
        with pytest.raises(KCircuitsError, match=match):
            sweep(document(), tmp_path / "out", **options, progress=updates.append)

    refused("no node of the Ray cluster has 3 CPUs", ray="auto", threads=3)
    refused("connected to Ray at .*: give the same", ray="10.0.0.1:6379")
    with monkeypatch.context() as patch:  # a folder that is not there for the node
        patch.setattr(ray_pool.tempfile, "mkdtemp", lambda **_: str(tmp_path / "elsewhere"))
        refused("does not see .*: choose an --out on a file system", ray="auto", threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(ray_pool, "ALGORITHMS", -1)
        refused("has another version of kcircuits", ray="auto", threads=1)
    assert not updates


def test_what_an_actor_says(tiny_files, tmp_path, monkeypatch):
    """The actor's class itself, without a cluster: events as they happen, the end last, the result there."""
    from kcircuits.sweeps import ray_worker
    from kcircuits.sweeps.expand import expand
    from kcircuits.sweeps.pool import Order
    from kcircuits.sweeps.run import read_sweep

    monkeypatch.chdir(tiny_files)
    monkeypatch.setattr(ray_worker.signal, "signal", lambda *_: None)  # of this process, which stays
    store = Store(tmp_path / "out")
    parsed, grid = read_sweep(document())
    job = next(iter(expand(grid, parsed, store.parts, keep=False).jobs.values()))
    worker = ray_worker.Worker(store.out, 1, "worker 1", [])
    first, *between, last = worker.do(Order(job, job.memory, 1))
    assert first == Started(job.key, f"worker 1 on {socket.gethostname()}")
    assert isinstance(last, Finished) and last.key == job.key
    assert all(isinstance(event, Moved) for event in between)
    assert store.jobs.get(job.key) is not None


def test_without_ray(tiny_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_files)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(KCircuitsError, match=r"cluster need ray: pip install 'kcircuits\[ray\]'"):
        sweep(document(), tmp_path / "out", ray="local")
    assert not (tmp_path / "out").exists()


@needs_ray
@pytest.mark.parametrize("address", ["nowhere", "ray://10.0.0.1:10001", "host:0", "host:70000", ""])
def test_what_is_no_address(address, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # other tests of this process have a cluster
    with (
        pytest.raises(KCircuitsError, match="a Ray address is local, auto, or HOST:PORT"),
        ray_cluster.connect(address, 1),
    ):
        pass


@needs_ray
def test_an_address_where_nobody_listens(tiny_files, tmp_path):
    with socket.socket() as taken:  # bound, so that nobody else takes it, but not listening
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [*SWEEP, "--out", str(tmp_path / "out"), "--ray", address],
            cwd=_with_a_sweep(tiny_files, tmp_path),
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"kcircuits: no Ray cluster answers at {address}: [Errno 111] Connection refused\n"
    assert not (tmp_path / "out").exists()


@needs_ray
def test_ctrl_c_ends_the_cluster(tiny_files, tmp_path):
    """130, nothing of Ray on the terminal, and no process of its session left."""
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*SWEEP, "--out", str(out), "--threads", "1", "--ray", "local"],
        cwd=_with_a_sweep(tiny_files, tmp_path),
        env=os.environ | {"PYTHONPATH": str(ROOT), "KCIRCUITS_TEST_CTRL_C": str(out)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # also below nohup
    )
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.startswith("1 of "), first + process.stderr.read()
        started = marked(str(out))
        os.killpg(process.pid, signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, printed) == (130, "")
    assert said.splitlines()[-1] == "kcircuits: stopped"
    assert all("of" in line for line in said.splitlines()[:-1])
    assert len(started) > 3
    until = monotonic() + 20
    while any(alive(each) for each in started):
        assert monotonic() < until, "Ray outlives the sweep"
        sleep(0.05)


def marked(mark: str) -> list[int]:
    """The processes that have a mark in their environment, as those have that a marked one started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"KCIRCUITS_TEST_CTRL_C={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def _with_a_sweep(tiny_files: Path, folder: Path) -> Path:
    """A folder with `s.yaml`, 600 jobs."""
    import yaml

    relation = {"relation": str(tiny_files / "relation.json"), "top_k": 0, "limit": 2}
    whole = many(models=[str(tiny_files / "model")], prompts=[relation], seeds=list(range(300)))
    (folder / "s.yaml").write_text(yaml.safe_dump(whole))
    return folder
