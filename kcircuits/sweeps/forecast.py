"""Estimates for jobs: memory of a process from sizes, and seconds from finished jobs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcircuits.model.devices import tensors_of
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.planning import Plan, plan
from kcircuits.planning.memory import weights_bytes
from kcircuits.sweeps.job import Job, Search

PROCESS = 350 * 2**20
"""Bytes of a process without a model: Python, torch and their libraries."""


@dataclass
class Forecast:
    """Plans of searches. Circuits of different sizes for the same prompts share one."""

    plans: dict[Any, Plan] = field(default_factory=dict)

    def needs(self, model: Model, search: Search, digest: str, memory: int) -> int:
        """Bytes that a search needs in addition to the weights; raises KCircuitsError if the method refuses
        it.

        Analyses run after the search has freed its memory, and need no more than measuring the circuit.
        """
        found = self._plan(model, search, digest, memory)
        return found.peak - found.weights

    def _plan(self, model: Model, search: Search, digest: str, memory: int) -> Plan:
        options = {
            name: value
            for name, value in search.method.settings.items()
            if name not in ("threshold", "top_n")
        }
        task = search.task
        key = (
            model.identity["weights_hash"],
            digest,
            search.method.name,
            str(options),
            task.ablation,
            task.metric,
        )
        if key not in self.plans:
            self.plans[key] = _make_plan(model, search, memory, calibrate=False)
        return self.plans[key]


def private_weights(spec: ModelSpec) -> int:
    """Bytes of weights that each process has its own copy of: those that are not pages of a mapped file.

    Weights that are used as stored are pages of the model's file, which all processes share. Others were
    converted when loaded.
    """
    mapped = _mapped_files()
    private = {}
    for tensor in tensors_of(spec):
        storage = tensor.untyped_storage()
        start = storage.data_ptr()
        if not any(first <= start < last for first, last in mapped):
            private[start] = storage.nbytes()
    return sum(private.values())


def shared_weights(spec: ModelSpec) -> int:
    """Bytes of weights that all processes share."""
    return weights_bytes(spec) - private_weights(spec)


def _mapped_files() -> list[tuple[int, int]]:
    """Address ranges of mapped safetensors files in this process; empty if the system does not list them."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    spans = [line.split(maxsplit=1)[0].split("-") for line in lines if line.endswith(".safetensors")]
    return [(int(first, 16), int(last, 16)) for first, last in spans]


@dataclass
class Times:
    """Estimates of the seconds of jobs.

    The estimate is proportional to the number of prompts, from finished jobs of the same weights and method.
    If there are none, the search is planned, which measures small pieces of it; analyses are then not
    included. For a method that tests fewer edges than it plans (`Method.tests_fewer`) it is an upper bound.
    """

    rates: dict[tuple[str, str], float] = field(default_factory=dict)
    planned: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def from_finished(cls, done: Iterable[tuple[Job, float]]) -> Times:
        """Estimates from finished jobs, each with its seconds."""
        seen: dict[tuple[str, str], list[float]] = {}
        for job, seconds in done:
            seen.setdefault(_kind(job), []).append(seconds / len(job.search.task.prompts))
        return cls({kind: sum(rates) / len(rates) for kind, rates in seen.items()})

    def can_estimate(self, job: Job) -> bool:
        """Whether there is an estimate for jobs of this kind."""
        return _kind(job) in self.rates

    def plan(self, job: Job, model: Model) -> None:
        """Plan the job's search, as an estimate for all jobs of its kind."""
        search = job.search
        made = _make_plan(model, search, job.memory, calibrate=True)
        assert made.seconds is not None
        self.rates[_kind(job)] = made.seconds / len(search.task.prompts)
        self.planned.add(_kind(job))

    def estimate(self, job: Job, made: set[str]) -> float:
        """Seconds of a job; `made` are the parts that other jobs make. The parts of this job are added."""
        is_planned = _kind(job) in self.planned
        part = job.search.scores_key or job.search.key
        there = is_planned and part in made
        made.add(part)
        return 0.0 if there else self.rates[_kind(job)] * len(job.search.task.prompts)


def _make_plan(model: Model, search: Search, memory: int, *, calibrate: bool) -> Plan:
    """The plan of a search. With `calibrate`, it measures small pieces and estimates the run time."""
    return plan(model, search.task, search.method, memory=memory, calibrate=calibrate, probe=False)


def _kind(job: Job) -> tuple[str, str]:
    return job.weights, job.search.method.name
