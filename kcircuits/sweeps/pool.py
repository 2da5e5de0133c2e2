"""Pools that run jobs: the interface of all back ends, and the simplest one, this process."""

from __future__ import annotations

import errno
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Literal, Protocol

import torch

from kcircuits.discovery import Progress, Steps
from kcircuits.model.loading import Model
from kcircuits.runtime.memory import is_about_memory
from kcircuits.sweeps.expand import load_choice
from kcircuits.sweeps.grid import ModelChoice
from kcircuits.sweeps.job import Job
from kcircuits.sweeps.store import Store
from kcircuits.sweeps.work import do_job, do_part

SECONDS_BETWEEN_MOVES = 0.5

Why = Literal["error", "memory", "disk", "died"]


@dataclass(frozen=True)
class Order:
    """A job to run now, with a memory budget in bytes; `attempt` counts from 1.

    With `part`, only the scores of that part of its prompts are computed. The job uses them later.
    """

    job: Job
    memory: int
    attempt: int
    part: int | None = None

    @property
    def key(self) -> str:
        """Key of its events."""
        return self.job.key if self.part is None else self.job.search.part_key(self.part, self.memory)

    @property
    def makes(self) -> tuple[str, ...]:
        """Keys of the results that it makes for other jobs."""
        return self.job.search.shared_keys if self.part is None else (self.key,)

    @property
    def title(self) -> str:
        """A short description."""
        if self.part is None:
            return self.job.title
        return f"{self.job.title}, part {self.part + 1} of {self.job.search.score_parts}"


@dataclass(frozen=True)
class Started:
    """A worker has started a job."""

    key: str
    worker: str


@dataclass(frozen=True)
class Moved:
    """Progress of a job's search, at most every `SECONDS_BETWEEN_MOVES`."""

    key: str
    share: float
    place: str


@dataclass(frozen=True)
class Finished:
    """A job's result is stored."""

    key: str
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A job ended without a result.

    `why`: it raised an error, memory ran out, the disk is full, or the worker died. `trace` is for a report.
    """

    key: str
    why: Why
    message: str
    trace: str = ""


Event = Started | Moved | Finished | Failed
Listener = Callable[[Event], None]


class Pool(Protocol):
    """A back end. Each order ends with one `Finished` or `Failed`, unless the pool is closed before."""

    @property
    def free(self) -> int:
        """Number of orders that it can take now."""
        ...

    @property
    def memory(self) -> int | None:
        """Bytes that all workers may use together; None if the back end manages memory itself."""
        ...

    def submit(self, order: Order) -> None:
        """Take an order; only if `free` is not 0."""
        ...

    def wait(self, listener: Listener) -> None:
        """Pass events to the listener: those that arrived, or the next one, or none after a second."""
        ...

    def close(self) -> None:
        """Stop all running jobs at once, and free all resources."""
        ...


class Models:
    """Keeps the last model, so that consecutive jobs of one model load it once."""

    def __init__(self, load: Callable[[ModelChoice], Model] = load_choice) -> None:
        self._load = load
        self._kept: tuple[ModelChoice, Model] | None = None

    def get(self, choice: ModelChoice) -> Model:
        """The model. If it differs from the last one, that is freed and this one is loaded."""
        if self._kept is None or self._kept[0] != choice:
            self._kept = None
            self._kept = choice, self._load(choice)
        return self._kept[1]


class ThisProcess:
    """Runs jobs one after the other in this process, with torch's number of threads or a given one."""

    def __init__(self, out: Path, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._store, self._models = Store(out), Models()
        self._orders: deque[Order] = deque()

    @property
    def free(self) -> int:
        """One at a time."""
        return 0 if self._orders else 1

    @property
    def memory(self) -> int | None:
        """None: a single job can use all memory."""
        return None

    def submit(self, order: Order) -> None:
        """Keep it until `wait`."""
        self._orders.append(order)

    def wait(self, listener: Listener) -> None:
        """Run the job."""
        if self._orders:
            carry_out(self._orders[0], self._models, self._store, "this process", listener)
            self._orders.popleft()

    def close(self) -> None:
        """Nothing runs between two calls."""
        self._orders.clear()


class _Moves:
    """Passes on a search's progress at intervals."""

    def __init__(self, key: str, listener: Listener) -> None:
        self._key, self._listener = key, listener
        self._next = monotonic() + SECONDS_BETWEEN_MOVES

    def __call__(self, done: Progress | Steps) -> None:
        now = monotonic()
        if now >= self._next:
            self._next = now + SECONDS_BETWEEN_MOVES
            self._listener(Moved(self._key, done.share, done.place))


def carry_out(order: Order, models: Models, store: Store, worker: str, listener: Listener) -> None:
    """Run an order, and report how it ended. Interrupts of the process are raised."""
    job, progress = order.job, _Moves(order.key, listener)
    listener(Started(order.key, worker))
    try:
        model = models.get(job.model)
        if order.part is None:
            seconds = do_job(job, model, store, order.memory, order.attempt, progress)
        else:
            seconds = do_part(job, order.part, model, store, order.memory, progress)
    except Exception as error:
        listener(Failed(order.key, reason_of(error), _message(error), traceback.format_exc()))
    else:
        listener(Finished(order.key, seconds))


def reason_of(error: BaseException) -> Why:
    """Why a job failed, from its error or the error's cause."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return "disk"
        if isinstance(seen, MemoryError) or (isinstance(seen, OSError) and seen.errno == errno.ENOMEM):
            return "memory"
        # torch's allocators raise RuntimeError or a subclass, std::bad_alloc arrives as MemoryError
        if isinstance(seen, RuntimeError) and is_about_memory(str(seen)):
            return "memory"
        seen = seen.__cause__
    return "error"


def _message(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    named = type(error).__name__
    if not lines:
        return named
    return lines[0] if isinstance(error, ValueError | OSError) else f"{named}: {lines[0]}"
