"""How each kind of method comes to circuits of many sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from time import perf_counter
from typing import Any

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.data.prompts import Prompt
from kcircuits.discover import METHODS, SCORERS, ProgressCallback, attribute, discover
from kcircuits.evaluate import SizeCurve, random_curve, size_curve
from kcircuits.metrics import faithfulness
from kcircuits.model.loading import Model
from kcircuits.selection import EmptySelectionError
from kcircuits.sizes.comparison import MethodCurve, Point
from kcircuits.sizes.options import THRESHOLD_SHARES, SizeOptions

RANDOM = "random"
NAMES = (*METHODS, RANDOM)


@dataclass(frozen=True)
class Job:
    """What all methods have in common.

    Parameters
    ----------
    model, prompts
        As in `kcircuits.discover`.
    how
        The arguments of `discover` about ablation, metric and model.
    options
        At which sizes.
    memory
        Bytes for what is evaluated together.
    full, empty
        The metric of the full model and of no edges; they differ.
    """

    model: Model
    prompts: tuple[Prompt, ...]
    how: dict[str, Any]
    options: SizeOptions
    memory: int
    full: float
    empty: float

    @property
    def measuring(self) -> dict[str, Any]:
        """The arguments of curves; the rest they read from what they measure."""
        return {
            "fractions": self.options.fractions,
            "reference": self.how["reference"],
            "memory": self.memory,
        }

    @property
    def thresholds(self) -> tuple[float, ...]:
        """ACDC's, in units of the metric."""
        if self.options.thresholds is not None:
            return self.options.thresholds
        return tuple(share * abs(self.empty - self.full) for share in THRESHOLD_SHARES)

    def searches(self, name: str) -> list[dict[str, Any]]:
        """The options of each run of a method."""
        options = self.options
        if name == "acdc":
            return [{"threshold": threshold} for threshold in self.thresholds]
        if name == "edge-pruning":
            total = self.model.spec.graph.num_edges
            # A graph can be so small that a share of it is less than one edge.
            sizes = dict.fromkeys(max(1, int(share * total)) for share in options.pruning_fractions)
            return [{"top_n": size, "steps": options.steps, "seed": options.seed} for size in sizes]
        if name in SCORERS:
            own = {field.name for field in fields(SCORERS[name])}  # type: ignore[arg-type]
            return [{"ig_steps": options.ig_steps} if "ig_steps" in own else {}]
        return [{}]


def curve_of(job: Job, name: str, reports: Iterator[ProgressCallback]) -> MethodCurve:
    """Find and measure the circuits of one method; each of its searches takes the next of `reports`."""
    if name == RANDOM:
        next(reports)  # says that they are at work; measuring has no progress of its own
        return _by_chance(job)
    if name in SCORERS:
        return _by_scores(job, name, next(reports))
    points, seconds = [], 0.0
    for search in job.searches(name):
        point, taken = _found(job, name, search, next(reports))
        points.append(point)
        seconds += taken
    return MethodCurve(name, tuple(points), round(seconds, 3), None, None)


def _found(job: Job, name: str, search: dict[str, Any], report: ProgressCallback) -> tuple[Point, float]:
    """The circuit of one search as a point, and the seconds of the search alone."""
    threshold = search.get("threshold")
    start = perf_counter()
    try:
        circuit = discover(
            job.model, job.prompts, name, memory=job.memory, progress=report, **job.how, **search
        )
    except EmptySelectionError:  # no path through so few edges, which is a result like any other
        return Point(0, 0.0, threshold=threshold), perf_counter() - start
    value = faithfulness(job.full, circuit.metric["circuit"], job.empty)
    assert value is not None  # full and empty differ
    return Point(len(circuit.edges), value, threshold=threshold), circuit.stats["seconds"]


def _by_scores(job: Job, name: str, report: ProgressCallback) -> MethodCurve:
    start = perf_counter()
    (options,) = job.searches(name)
    scores = attribute(job.model, job.prompts, name, memory=job.memory, progress=report, **job.how, **options)
    seconds = perf_counter() - start
    curve = size_curve(scores, job.model, job.prompts, **job.measuring)
    points = tuple(map(Point, curve.num_edges, _known(curve)))
    return MethodCurve(name, points, round(seconds, 3), curve.cpr, curve.cmd)


def _by_chance(job: Job) -> MethodCurve:
    graph, seed = job.model.spec.graph, job.options.seed
    settings = {key: value for key, value in job.how.items() if key != "reference"}
    nothing = Circuit(graph, job.model.identity, RANDOM, settings, {}, (), {})
    curves = [
        random_curve(nothing, job.model, job.prompts, seeds=[each], **job.measuring)
        for each in range(seed, seed + job.options.random_circuits)
    ]
    mean = replace(curves[0], metric=np.mean([curve.metric for curve in curves], axis=0))
    spreads = [(min(values), max(values)) for values in zip(*map(_known, curves), strict=True)]
    points = tuple(map(Point, mean.num_edges, _known(mean), spreads))
    return MethodCurve(RANDOM, points, None, mean.cpr, mean.cmd)


def _known(curve: SizeCurve) -> Sequence[float]:
    """The faithfulness at each size, which is there as full and empty differ."""
    return [value for value in curve.faithfulness if value is not None]
