"""A whole sweep: read the file, make jobs, run them, and write tables."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.prepare import check_whole
from kcircuits.runtime.interrupts import hold_signals
from kcircuits.runtime.optional import need
from kcircuits.sweeps.expand import ExpandedGrid, expand
from kcircuits.sweeps.grid import Grid, parse_grid
from kcircuits.sweeps.loop import DiskFullError, Listening, Loop
from kcircuits.sweeps.pool import Pool, ThisProcess, reason_of
from kcircuits.sweeps.processes import Processes
from kcircuits.sweeps.store import Store
from kcircuits.sweeps.summary import DONE, FAILED, write_tables
from kcircuits.sweeps.yaml_file import Document, read_yaml

if TYPE_CHECKING:
    from pandas import DataFrame

PoolMaker = Callable[[Path], Pool]


@dataclass(frozen=True)
class SweepResult:
    """The result of a sweep.

    Parameters
    ----------
    out
        The output folder; a job's result is in `out / "jobs" / key`.
    rows
        A row for each job, sorted by key, with the columns of summary.parquet.
    reused
        Number of results that existed before.
    """

    out: Path
    rows: tuple[dict[str, Any], ...]
    reused: int

    @property
    def done(self) -> int:
        """Number of jobs with a result."""
        return sum(row["status"] == DONE for row in self.rows)

    @property
    def failed(self) -> int:
        """Number of jobs without a result; their rows have the reason."""
        return sum(row["status"] == FAILED for row in self.rows)

    def table(self) -> DataFrame:
        """The rows as a table."""
        need("pandas", "tables")
        from pandas import DataFrame

        return DataFrame(list(self.rows))

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        counts = {"done": self.done, "failed": self.failed, "reused": self.reused}
        return {"out": str(self.out), **counts, "jobs": list(self.rows)}


def sweep(
    source: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    workers: int = 1,
    threads: int | None = None,
    ray: str | None = None,
    progress: Listening | None = None,
) -> SweepResult:
    """Run all jobs of a grid that have no result yet, and write tables of all results.

    A job is a circuit of one model for some prompts, with its analyses. Its result is stored under a hash of
    everything that determines it. So you can stop and resume a sweep, change it, or run another one into the
    same folder: existing results are reused (docs/sweeps.md).

    Parameters
    ----------
    source
        A YAML file, with paths relative to the file, or the same content as a dict.
    out
        The output folder.
    workers
        Number of processes that run jobs in parallel; 0 runs them in this process.
    threads
        Threads of each process; by default the machine's cores divided by the processes.
    ray
        Use at most `workers` actors of a Ray cluster instead of processes: "local" for a cluster on this
        machine that lasts as long as the sweep, HOST:PORT of a cluster's head, or "auto" for the cluster that
        this machine belongs to.
    progress
        Called with an `Update` when a job starts, proceeds or ends.

    Returns
    -------
    SweepResult
        It includes failed jobs. The next sweep tries these again.

    Raises
    ------
    KCircuitsError
        Before any job starts, if the input cannot be used, another sweep uses the folder, or a Ray cluster
        cannot be used.
    DiskFullError
        If the disk is full. Finished results are kept, and the sweep can be started again.
    """
    check_whole("workers", workers)
    if threads is not None:
        check_whole("threads", threads, least=1)
    document, grid = read_sweep(source)
    each = threads or max(1, _cores() // max(1, workers))
    listening = progress or (lambda update: None)
    if ray is not None:
        check_whole("workers", workers, least=1)
        return _sweep_on_ray(ray, workers, each, document, grid, Path(out), listening)

    def make(folder: Path) -> Pool:
        if workers == 0:
            return ThisProcess(folder, threads)
        return Processes(folder, workers, each)

    return run_on(make, document, grid, Path(out), listening)


def _sweep_on_ray(
    address: str, size: int, threads: int, document: Document, grid: Grid, out: Path, listening: Listening
) -> SweepResult:
    from kcircuits.sweeps.ray_cluster import connect
    from kcircuits.sweeps.ray_pool import RayPool

    gpu = any(choice.device == "cuda" for choice in grid.models)
    with connect(address, size * threads) as ray:
        return run_on(
            lambda folder: RayPool(ray, folder, size, threads, gpu=gpu), document, grid, out, listening
        )


def read_sweep(source: str | Path | Mapping[str, Any]) -> tuple[Document, Grid]:
    """Read and check the document of a sweep and its grid. Raises KCircuitsError if it cannot be used."""
    if isinstance(source, Mapping):
        document, base = Document(dict(source), "sweep"), Path.cwd()
    else:
        document, base = read_yaml(source), Path(source).resolve().parent
    return document, parse_grid(document, base)


def run_on(make: PoolMaker, document: Document, grid: Grid, out: Path, listening: Listening) -> SweepResult:
    """`sweep` on any back end; `make` creates the pool for an output folder."""
    store = Store(out)
    is_new = not out.exists()
    try:
        with store.lock():
            store.clean()
            try:
                expanded = expand(grid, document, store.parts, keep=True)
            except KCircuitsError:
                if is_new:  # invalid input leaves no files
                    shutil.rmtree(out, ignore_errors=True)
                raise
            return _do(make(out), store, expanded, listening)
    except (OSError, KCircuitsError) as error:
        if reason_of(error) == "disk":
            raise DiskFullError(str(error)) from error
        raise


def _do(pool: Pool, store: Store, expanded: ExpandedGrid, listening: Listening) -> SweepResult:
    left = []
    for key, job in expanded.jobs.items():
        if store.jobs.get(key) is None:
            left.append(job)
        else:
            store.forgive(key)
    for key, refused in expanded.refused.items():
        store.fail(key, {"error": refused.error, "labels": refused.labels})
    reused = len(expanded.jobs) - len(left)
    loop = Loop(pool, store, expanded, done=reused, failed=len(expanded.refused), listening=listening)
    # The tables are written whenever and however the sweep ends.
    with hold_signals() as signals:
        try:
            with signals.let_through():
                loop.run(left)
        except BaseException:
            pool.close()
            with suppress(OSError, KCircuitsError):  # for example a full disk, which may have ended it
                write_tables(store)
            raise
        pool.close()
        rows = write_tables(store)
    own = expanded.jobs.keys() | expanded.refused.keys()
    return SweepResult(store.out, tuple(row for row in rows if row["key"] in own), reused)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
