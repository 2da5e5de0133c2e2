"""The main loop of a sweep: order of the jobs, retries and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from kcircuits.sweeps.expand import ExpandedGrid
from kcircuits.sweeps.forecast import PROCESS
from kcircuits.sweeps.job import Job
from kcircuits.sweeps.pool import Event, Failed, Finished, Moved, Order, Pool, Started
from kcircuits.sweeps.store import Store

RETRIES = 3
"""How often a job is retried if its process died or ran out of memory."""

Status = Literal["running", "scored", "retried", "done", "failed"]


class DiskFullError(RuntimeError):
    """The disk is full. Finished results are kept."""


@dataclass(frozen=True)
class Update:
    """A report of a running sweep.

    Parameters
    ----------
    key, title
        Key and name of the job.
    status
        Status of the job; "running" is repeated as its search proceeds. A part of a job's prompts has its own
        key and title, ends as "scored", and does not count as a job.
    share, place
        Progress of its search, as a share and as text.
    message
        Why it failed or is retried.
    seconds
        Its run time, once it is done.
    done, failed, total
        Numbers of jobs of the whole sweep. Results that existed before count as done.
    """

    key: str
    title: str
    status: Status
    done: int
    failed: int
    total: int
    share: float = 0.0
    place: str = ""
    message: str = ""
    seconds: float = 0.0


Listening = Callable[[Update], None]


class Loop:
    """Runs jobs on a pool.

    Jobs that share a missing part, such as the scores for circuits of several sizes, do not run at the same
    time: the first makes the part, and the others use it. Several workers score the parts of such a job's
    prompts before the job begins; a part that fails is left to the job. Only as many jobs run at the same
    time as fit into the pool's memory by their plans, but at least one.
    """

    def __init__(
        self,
        pool: Pool,
        store: Store,
        expanded: ExpandedGrid,
        *,
        done: int,
        failed: int,
        listening: Listening,
    ) -> None:
        self._pool, self._store, self._expanded = pool, store, expanded
        self._listening = listening
        self._queue: list[Order] = []
        self._running: dict[str, Order] = {}
        self._split: Counter[str | None] = Counter()  # parts still to be scored, by the scores' key
        self._done, self._failed = done, failed
        self._total = done + failed

    def run(self, jobs: Iterable[Job]) -> None:
        """Run all jobs. Raises DiskFullError if there is no space for a result."""
        several = self._pool.free > 1
        for job in jobs:
            if several:
                self._split_up(job)
            self._queue.append(Order(job, job.memory, 1))
            self._total += 1
        while self._queue or self._running:
            while self._pool.free and (order := self._next()) is not None:
                self._queue.remove(order)
                self._running[order.key] = order
                self._pool.submit(order)
            self._pool.wait(self._hear)

    def _next(self) -> Order | None:
        """The first order that may run next to the running ones; None to wait."""
        making = {key for order in self._running.values() for key in order.makes}
        missing = {key for key in making if not self._is_there(key)}
        for order in self._queue:
            waits = order.part is None and self._split[order.job.search.scores_key] > 0
            if not waits and missing.isdisjoint(order.makes) and self._fits(order):
                return order
        return None

    def _split_up(self, job: Job) -> None:
        """Queue the missing parts of a job's prompts for scoring, unless another job has queued them."""
        search = job.search
        key = search.scores_key
        if key is None or search.score_parts < 2 or key in self._split:
            return
        if not any(map(self._is_there, search.shared_keys)):
            orders = [Order(job, job.memory, 1, part) for part in range(search.score_parts)]
            left = [order for order in orders if not self._is_there(order.key)]
            self._queue += left
            self._split[key] = len(left)

    def _is_there(self, key: str) -> bool:
        return (self._store.parts.folder / key).exists()

    def _fits(self, order: Order) -> bool:
        if not self._running or self._pool.memory is None:
            return True
        together = [*self._running.values(), order]
        private = sum(PROCESS + each.job.needs + self._expanded.private[each.job.model] for each in together)
        models = {each.job.model for each in together}
        return private + sum(self._expanded.shared[model] for model in models) <= self._pool.memory

    def _hear(self, event: Event) -> None:
        order = self._running[event.key]
        match event:
            case Started():
                self._report(order, "running")
            case Moved():
                self._report(order, "running", share=event.share, place=event.place)
            case Finished() | Failed():
                del self._running[event.key]
                if order.part is not None:
                    self._finish_part(order, event)
                elif isinstance(event, Finished):
                    self._store.forgive(event.key)
                    self._done += 1
                    self._report(order, "done", share=1.0, seconds=event.seconds)
                else:
                    self._judge(order, event)

    def _finish_part(self, order: Order, event: Finished | Failed) -> None:
        self._split[order.job.search.scores_key] -= 1
        if isinstance(event, Finished):
            self._report(order, "scored", share=1.0, seconds=event.seconds)
        elif event.why == "disk":
            raise DiskFullError(event.message)
        else:
            self._report(order, "retried", message=event.message)

    def _judge(self, order: Order, failure: Failed) -> None:
        job = order.job
        if failure.why == "disk":
            raise DiskFullError(failure.message)
        if failure.why in ("memory", "died") and order.attempt <= RETRIES:
            # A process that dies twice on one job may have been killed for its memory.
            less = failure.why == "memory" or order.attempt > 1
            memory = max(1, order.memory // 2) if less else order.memory
            self._queue.insert(0, replace(order, memory=memory, attempt=order.attempt + 1))
            self._report(order, "retried", message=failure.message)
            return
        tries = "" if order.attempt == 1 else f", {order.attempt} times"
        message = f"{failure.message}{tries}"
        report = {"error": message, "labels": job.labels, "trace": failure.trace.splitlines()}
        self._store.fail(job.key, report)
        self._failed += 1
        self._report(order, "failed", message=message)

    def _report(
        self,
        order: Order,
        status: Status,
        *,
        share: float = 0.0,
        place: str = "",
        message: str = "",
        seconds: float = 0.0,
    ) -> None:
        counts = (self._done, self._failed, self._total)
        self._listening(Update(order.key, order.title, status, *counts, share, place, message, seconds))
