"""Circuits of many sizes for each kind of method."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.data.metrics import faithfulness
from kcircuits.discovery import METHODS, Method, ProgressCallback
from kcircuits.discovery.run import attribute, discover
from kcircuits.errors import KCircuitsError, KCircuitsWarning
from kcircuits.evaluation import SizeCurve, random_curve, size_curve
from kcircuits.model.loading import Model
from kcircuits.runtime.option_fields import made_from, options_of
from kcircuits.scores.selection import EmptySelectionError
from kcircuits.sizes.comparison import MethodCurve, Point
from kcircuits.sizes.options import SizeOptions
from kcircuits.sizes.random_circuits import RandomCircuits
from kcircuits.task import Task

Compared = Method | RandomCircuits
"""What can be compared."""
RANDOM = RandomCircuits.name


def known_names() -> tuple[str, ...]:
    """The names that can be compared: all methods, and random circuits."""
    return (*METHODS, RANDOM)


def make_methods(names: Sequence[str], given: Mapping[str, Any]) -> tuple[Compared, ...]:
    """Methods and random circuits by name, each with the given options that it has.

    Parameters
    ----------
    names
        Names of `known_names`.
    given
        Options by their names in files and on the command line. All are checked, even if no named method has
        them.

    Raises
    ------
    KCircuitsError
        If there is no such method, or a value is refused.

    Examples
    --------
    >>> make_methods(["eap-ig-inputs", "random"], {"ig_steps": 3, "seed": 1})[1]
    RandomCircuits(count=5, seed=1)
    """
    known: dict[str, Compared] = {}
    kinds: list[type[Compared]] = [*METHODS.values(), RandomCircuits]
    for kind in kinds:
        own = options_of(kind)
        known[kind.name] = made_from(kind, kind.name, {key: given[key] for key in given if key in own})
    for name in names:
        if name not in known:
            raise KCircuitsError(f"a method must be one of {', '.join(known)}; got {name!r}")
    return tuple(known[name] for name in names)


@dataclass(frozen=True)
class Job:
    """The common input of all methods.

    Parameters
    ----------
    model, task
        As in `kcircuits.discover`.
    options
        The sizes.
    memory
        Memory budget in bytes.
    full, empty
        The metric of the full model and of no edges, which must differ.
    """

    model: Model
    task: Task
    options: SizeOptions
    memory: int
    full: float
    empty: float

    @property
    def curve_arguments(self) -> dict[str, Any]:
        """Arguments of size curves."""
        return {"fractions": self.options.fractions, "memory": self.memory}

    def searches(self, method: Compared) -> tuple[Method, ...]:
        """A method object for each search; none for random circuits."""
        if isinstance(method, RandomCircuits):
            return ()
        effect = abs(self.empty - self.full)
        return method.at_sizes(self.options, self.model.spec.graph.num_edges, effect)


def measure_curve(job: Job, method: Compared, reports: Iterator[ProgressCallback]) -> MethodCurve:
    """Find and measure the circuits of one method; each of its searches takes the next of `reports`."""
    if isinstance(method, RandomCircuits):
        next(reports)  # reports the method's name; measuring has no progress of its own
        return _random_curve(job, method)
    searches = job.searches(method)
    if method.scores_all_edges:
        return _score_curve(job, searches[0], next(reports))
    points, seconds = [], 0.0
    for search in searches:
        point, taken = _search_point(job, search, next(reports))
        points.append(point)
        seconds += taken
    return MethodCurve(method.name, tuple(points), round(seconds, 3), None, None, common_settings(searches))


def common_settings(searches: Sequence[Method]) -> dict[str, Any]:
    """The options that all searches share. The others differ between points."""
    first, *others = (search.settings for search in searches)
    return {name: value for name, value in first.items() if all(each[name] == value for each in others)}


def _search_point(job: Job, method: Method, report: ProgressCallback) -> tuple[Point, float]:
    """The circuit of one search as a point, and the seconds of the search alone."""
    threshold = method.settings.get("threshold")
    start = perf_counter()
    try:
        with warnings.catch_warnings():  # the curve already shows how bad a circuit is
            warnings.simplefilter("ignore", KCircuitsWarning)
            circuit = discover(job.model, job.task, method, memory=job.memory, progress=report)
    except EmptySelectionError:  # no path with so few edges, which is a valid result
        return Point(0, 0.0, threshold=threshold), perf_counter() - start
    value = faithfulness(job.full, circuit.metric["circuit"], job.empty)
    assert value is not None  # full and empty differ
    return Point(len(circuit.edges), value, threshold=threshold), circuit.stats["seconds"]


def _score_curve(job: Job, method: Method, report: ProgressCallback) -> MethodCurve:
    start = perf_counter()
    scores = attribute(job.model, job.task, method, memory=job.memory, progress=report)
    seconds = perf_counter() - start
    curve = size_curve(job.model, job.task, scores, **job.curve_arguments)
    points = tuple(map(Point, curve.num_edges, _faithfulness_of(curve)))
    return MethodCurve(method.name, points, round(seconds, 3), curve.cpr, curve.cmd, method.settings)


def _random_curve(job: Job, drawn: RandomCircuits) -> MethodCurve:
    graph = job.model.spec.graph
    nothing = Circuit(graph, job.model.identity, RANDOM, job.task.settings, {}, (), {})
    curves = [
        random_curve(job.model, job.task, nothing, seeds=[each], **job.curve_arguments)
        for each in range(drawn.seed, drawn.seed + drawn.count)
    ]
    mean = replace(curves[0], metric=np.mean([curve.metric for curve in curves], axis=0))
    spreads = [(min(values), max(values)) for values in zip(*map(_faithfulness_of, curves), strict=True)]
    points = tuple(map(Point, mean.num_edges, _faithfulness_of(mean), spreads))
    return MethodCurve(RANDOM, points, None, mean.cpr, mean.cmd, drawn.settings)


def _faithfulness_of(curve: SizeCurve) -> Sequence[float]:
    """The faithfulness at each size, which exists because full and empty differ."""
    return [value for value in curve.faithfulness if value is not None]
