"""How each kind of method comes to circuits of many sizes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.data.metrics import faithfulness
from kcircuits.discovery import METHODS, Method, ProgressCallback
from kcircuits.discovery.run import attribute, discover
from kcircuits.errors import KCircuitsWarning
from kcircuits.evaluation import SizeCurve, random_curve, size_curve
from kcircuits.model.loading import Model
from kcircuits.scores.selection import EmptySelectionError
from kcircuits.sizes.comparison import MethodCurve, Point
from kcircuits.sizes.options import SizeOptions
from kcircuits.task import Task

RANDOM = "random"


def known_names() -> tuple[str, ...]:
    """What can be compared: every method, and random circuits."""
    return (*METHODS, RANDOM)


@dataclass(frozen=True)
class Job:
    """What all methods have in common.

    Parameters
    ----------
    model, task
        As in `kcircuits.discover`.
    options
        At which sizes.
    memory
        Bytes for what is evaluated together.
    full, empty
        The metric of the full model and of no edges; they differ.
    """

    model: Model
    task: Task
    options: SizeOptions
    memory: int
    full: float
    empty: float

    @property
    def measuring(self) -> dict[str, Any]:
        """The arguments of curves."""
        return {"fractions": self.options.fractions, "memory": self.memory}

    def searches(self, name: str) -> tuple[Method, ...]:
        """A method for each of its runs; none for "random", which searches nothing."""
        if name == RANDOM:
            return ()
        effect = abs(self.empty - self.full)
        return METHODS[name].at_sizes(vars(self.options), self.model.spec.graph.num_edges, effect)


def curve_of(job: Job, name: str, reports: Iterator[ProgressCallback]) -> MethodCurve:
    """Find and measure the circuits of one method; each of its searches takes the next of `reports`."""
    if name == RANDOM:
        next(reports)  # says that they are at work; measuring has no progress of its own
        return _by_chance(job)
    searches = job.searches(name)
    if METHODS[name].scores_all_edges:
        return _by_scores(job, searches[0], next(reports))
    points, seconds = [], 0.0
    for search in searches:
        point, taken = _found(job, search, next(reports))
        points.append(point)
        seconds += taken
    return MethodCurve(name, tuple(points), round(seconds, 3), None, None)


def _found(job: Job, method: Method, report: ProgressCallback) -> tuple[Point, float]:
    """The circuit of one search as a point, and the seconds of the search alone."""
    threshold = method.settings.get("threshold")
    start = perf_counter()
    try:
        with warnings.catch_warnings():  # the curve says how bad a circuit is
            warnings.simplefilter("ignore", KCircuitsWarning)
            circuit = discover(job.model, job.task, method, memory=job.memory, progress=report)
    except EmptySelectionError:  # no path through so few edges, which is a result like any other
        return Point(0, 0.0, threshold=threshold), perf_counter() - start
    value = faithfulness(job.full, circuit.metric["circuit"], job.empty)
    assert value is not None  # full and empty differ
    return Point(len(circuit.edges), value, threshold=threshold), circuit.stats["seconds"]


def _by_scores(job: Job, method: Method, report: ProgressCallback) -> MethodCurve:
    start = perf_counter()
    scores = attribute(job.model, job.task, method, memory=job.memory, progress=report)
    seconds = perf_counter() - start
    curve = size_curve(job.model, job.task, scores, **job.measuring)
    points = tuple(map(Point, curve.num_edges, _known(curve)))
    return MethodCurve(method.name, points, round(seconds, 3), curve.cpr, curve.cmd)


def _by_chance(job: Job) -> MethodCurve:
    graph, seed = job.model.spec.graph, job.options.seed
    nothing = Circuit(graph, job.model.identity, RANDOM, job.task.settings, {}, (), {})
    curves = [
        random_curve(job.model, job.task, nothing, seeds=[each], **job.measuring)
        for each in range(seed, seed + job.options.random_circuits)
    ]
    mean = replace(curves[0], metric=np.mean([curve.metric for curve in curves], axis=0))
    spreads = [(min(values), max(values)) for values in zip(*map(_known, curves), strict=True)]
    points = tuple(map(Point, mean.num_edges, _known(mean), spreads))
    return MethodCurve(RANDOM, points, None, mean.cpr, mean.cmd)


def _known(curve: SizeCurve) -> Sequence[float]:
    """The faithfulness at each size, which is there as full and empty differ."""
    return [value for value in curve.faithfulness if value is not None]
