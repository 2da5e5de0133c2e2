"""Outlook of a sweep: finished jobs, jobs that are left, and estimates for these. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kcircuits.discovery import METHODS
from kcircuits.runtime.memory import available_memory
from kcircuits.sweeps.expand import expand
from kcircuits.sweeps.forecast import PROCESS, Times
from kcircuits.sweeps.pool import Models
from kcircuits.sweeps.run import read_sweep
from kcircuits.sweeps.store import TIMING, Store


@dataclass(frozen=True)
class JobOutlook:
    """One job: "done", "left", "failed" in the last sweep (and left), or "refused", with the reason.

    `peak` is the memory of its process in bytes, including the model's weights, and `seconds` its estimated
    run time; both are 0 if there is nothing to do.
    """

    key: str
    title: str
    status: Literal["done", "left", "failed", "refused"]
    reason: str = ""
    peak: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Outlook:
    """All jobs in the order of the grid.

    `at_most`: the seconds are an upper bound. `at_once`: number of processes for the largest job that fit
    into the memory available now, at least 1.
    """

    jobs: tuple[JobOutlook, ...]
    at_most: bool
    at_once: int

    @property
    def seconds(self) -> float:
        """Seconds of all jobs that are left, one after the other."""
        return sum(job.seconds for job in self.jobs)

    @property
    def peak(self) -> int:
        """Bytes of the largest process."""
        return max((job.peak for job in self.jobs), default=0)

    def count(self, *statuses: str) -> int:
        """Number of jobs with one of these statuses."""
        return sum(job.status in statuses for job in self.jobs)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "jobs": [vars(job) for job in self.jobs],
            "done": self.count("done"),
            "left": self.count("left", "failed"),
            "refused": self.count("refused"),
            "peak": self.peak,
            "at_once": self.at_once,
            "seconds": self.seconds,
            "seconds_at_most": self.at_most,
        }


def outlook(source: str | Path | Mapping[str, Any], out: str | Path) -> Outlook:
    """Estimate what `kcircuits.sweep` would do.

    Models are loaded and prompts chosen as in the sweep. Without similar finished jobs, small pieces of the
    searches are run to estimate the time. Nothing is written. Raises KCircuitsError as `sweep` does.
    """
    document, grid = read_sweep(source)
    store = Store(Path(out))
    expanded = expand(grid, document, store.parts, keep=False)
    there = {key: store.jobs.get(key) for key in expanded.jobs}
    failures = store.failures()
    times = Times.from_finished(
        (expanded.jobs[key], json.loads((folder / TIMING).read_text())["seconds"])
        for key, folder in there.items()
        if folder is not None
    )
    models = Models()
    found, made = [], set(store.parts.keys())
    for key, job in expanded.jobs.items():
        if there[key] is not None:
            found.append(JobOutlook(key, job.title, "done"))
            continue
        if not times.can_estimate(job):
            times.plan(job, models.get(job.model))
        weights = expanded.shared[job.model] + expanded.private[job.model]
        found.append(
            JobOutlook(
                key,
                job.title,
                "failed" if key in failures else "left",
                str(failures[key].get("error", "")) if key in failures else "",
                PROCESS + weights + job.needs,
                times.estimate(job, made),
            )
        )
    found += [
        JobOutlook(key, each.labels["relation"], "refused", each.error)
        for key, each in expanded.refused.items()
    ]
    at_most = any(METHODS[method].tests_fewer for _, method in times.planned)
    shared = max(expanded.shared.values())
    peak = max((job.peak for job in found), default=0)
    at_once = max(1, (available_memory() - shared) // max(1, peak - shared))
    return Outlook(tuple(found), at_most, at_once)
