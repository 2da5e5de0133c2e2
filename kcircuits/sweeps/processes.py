"""A pool of several processes on this machine.

Each process is spawned and not forked, so that it does not inherit running threads, and keeps its model.
Weights that are used as stored are pages of the model's file, which the processes share.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from kcircuits.runtime.memory import available_memory
from kcircuits.sweeps.grid import ModelChoice
from kcircuits.sweeps.pool import Event, Failed, Finished, Listener, Order
from kcircuits.sweeps.worker import work


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    order: Order | None = None
    model: ModelChoice | None = None


class Processes:
    """At most `size` processes with `threads` threads each, which are started when there is work for them."""

    def __init__(self, out: Path, size: int, threads: int) -> None:
        self._out, self._size, self._threads = out, size, threads
        self._workers: list[_Worker] = []
        self._number = 0
        self._memory = available_memory()

    @property
    def free(self) -> int:
        """Number of idle processes, started or not."""
        return self._size - sum(worker.order is not None for worker in self._workers)

    @property
    def memory(self) -> int | None:
        """Memory of this machine that was available before the first process started."""
        return self._memory

    def submit(self, order: Order) -> None:
        """Give an order to an idle process, preferably one that has the model."""
        worker = self._idle(order.job.model) or self._start()
        worker.order, worker.model = order, order.job.model
        with suppress(OSError):  # the process has died; `wait` reports it
            worker.pipe.send(order)

    def wait(self, listener: Listener) -> None:
        """Pass on events of the processes. If a pipe ends, its process has died."""
        by_pipe = {worker.pipe: worker for worker in self._workers if worker.order is not None}
        for pipe in wait(list(by_pipe), timeout=1.0):
            assert isinstance(pipe, Connection)
            self._hear(by_pipe[pipe], listener)

    def close(self) -> None:
        """Kill all processes. The next run deletes unfinished results from the scratch folder."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _idle(self, model: ModelChoice) -> _Worker | None:
        idle = [worker for worker in self._workers if worker.order is None]
        having = next((worker for worker in idle if worker.model == model), None)
        if having is not None or len(self._workers) < self._size:
            return having
        return idle[0]

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._number += 1
        name = f"worker {self._number}"
        process = context.Process(
            target=work, args=(theirs, self._out, self._threads, name), name=name, daemon=True
        )
        with _threads_of_children(self._threads), _children_without_interrupts():
            process.start()
        theirs.close()  # so that the pipe ends with the process
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker, listener: Listener) -> None:
        try:
            while worker.order is not None and worker.pipe.poll():
                event: Event = worker.pipe.recv()
                if isinstance(event, Finished | Failed):
                    worker.order = None
                listener(event)
        except (EOFError, OSError, pickle.UnpicklingError):
            self._bury(worker, listener)

    def _bury(self, worker: _Worker, listener: Listener) -> None:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        if worker.order is not None:
            code = worker.process.exitcode or 0
            how = f"by signal {-code}" if code < 0 else f"with status {code}"
            listener(Failed(worker.order.key, "died", f"its process ended {how}"))


@contextmanager
def _children_without_interrupts() -> Iterator[None]:
    """Make processes that are started in this context ignore Ctrl-C from their first import on.

    They inherit the blocked signals. This process gets the signal afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads_of_children(threads: int) -> Iterator[None]:
    """Set the number of OpenMP threads of processes that are started in this context."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
