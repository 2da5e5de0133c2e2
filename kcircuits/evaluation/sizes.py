"""Faithfulness over circuit sizes, and the areas under it: CPR and CMD (MIB, arXiv 2504.13151)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import fsum
from typing import TYPE_CHECKING, Any

import numpy as np

from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.data.metrics import MIB_FRACTIONS, faithfulness
from kcircuits.engine.needs import for_circuits
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.measure import measure_metric
from kcircuits.evaluation.prepare import Found, check_whole, prepared
from kcircuits.graph import Graph
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task

if TYPE_CHECKING:
    from kcircuits.scores import Scores


@dataclass(frozen=True)
class SizeCurve:
    """Circuits of F sizes on N prompts.

    Parameters
    ----------
    fractions
        Edges asked for, as shares of the graph's edges, [F]; rising.
    num_edges
        Edges of each circuit, [F]: at most int(fraction · edges of the graph), as dead ends are pruned.
    full, empty
        The metric of the full model and of no edges on each prompt, float64 [N].
    metric
        That of the circuits, float64 [F, N]; the mean of several where a size stands for several circuits.
    """

    fractions: tuple[float, ...]
    num_edges: tuple[int, ...]
    full: np.ndarray
    empty: np.ndarray
    metric: np.ndarray

    @property
    def faithfulness(self) -> tuple[float | None, ...]:
        """Faithfulness of each circuit, [F]."""
        full, empty = float(self.full.mean()), float(self.empty.mean())
        return tuple(faithfulness(full, float(each), empty) for each in self.metric.mean(axis=1))

    @property
    def cpr(self) -> float | None:
        """Circuit performance ratio: the area under f over the fraction of edges; greater is better.

        Trapezoids on a linear axis, from the first fraction to the last, not divided by that range, as MIB
        does: f = 1 at all of `MIB_FRACTIONS` gives 0.999. None without a faithfulness.
        """
        return self._area(list(self.faithfulness))

    @property
    def cmd(self) -> float | None:
        """Circuit–model distance: the same area under |1 − f|; less is better, 0 is the full model's."""
        return self._area([None if f is None else abs(1 - f) for f in self.faithfulness])

    def _area(self, heights: Sequence[float | None]) -> float | None:
        known = [height for height in heights if height is not None]
        if len(known) < len(heights):
            return None
        points = list(zip(self.fractions, known, strict=True))
        return fsum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))

    def on(self, prompts: Sequence[int]) -> SizeCurve:
        """The same circuits on some of the prompts, given by their indices."""
        arrays = {name: getattr(self, name)[..., list(prompts)] for name in ("full", "empty", "metric")}
        return replace(self, **arrays)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "fractions": list(self.fractions),
            "num_edges": list(self.num_edges),
            "metric": self.metric.mean(axis=1).tolist(),
            "faithfulness": list(self.faithfulness),
            "cpr": self.cpr,
            "cmd": self.cmd,
        }


def size_curve(
    model: Model,
    task: Task,
    scores: Scores,
    *,
    fractions: Sequence[float] = MIB_FRACTIONS,
    absolute: bool = True,
    greedy: bool = False,
    memory: int | str | None = None,
) -> SizeCurve:
    """Measure the circuits of the best-scored edges, at many sizes.

    Parameters
    ----------
    model, task, memory
        As in `kcircuits.evaluate`.
    scores
        From an attribution method, or `Scores.load`.
    fractions
        Shares of the graph's edges, rising, above 0 and at most 1.
    absolute, greedy
        How edges are selected (`kcircuits.scores.selection.select_sizes`).

    Raises
    ------
    KCircuitsError
        If the scores belong to another model, or anything else of the input cannot be used.
    """
    from kcircuits.scores.selection import select_sizes

    _check_fractions(fractions)
    spec = prepared(model, task, scores)
    sizes = _sizes(scores.graph, fractions)
    selected = select_sizes(scores.graph, scores.matrix, sizes, absolute=absolute, greedy=greedy)
    return _curve(spec, task, fractions, selected, memory)


def random_curve(
    model: Model,
    task: Task,
    found: Found,
    *,
    seeds: Sequence[int],
    fractions: Sequence[float] = MIB_FRACTIONS,
    memory: int | str | None = None,
) -> SizeCurve:
    """Measure random connected circuits of the same sizes: what a curve is compared with.

    The metric at a size is the mean over the seeds, so the faithfulness is the mean of theirs.

    Parameters
    ----------
    found
        The scores or the circuit to compare with.
    seeds
        At least one; each draws a circuit of each size.
    model, task, fractions, memory
        As in `size_curve`.
    """
    _check_fractions(fractions)
    if not seeds:
        raise KCircuitsError("random curves need at least one seed, got none")
    for seed in seeds:
        check_whole("each of seeds", seed)
    spec = prepared(model, task, found)
    return _curve(spec, task, fractions, _random_masks(spec.graph, fractions, seeds), memory)


def _random_masks(graph: Graph, fractions: Sequence[float], seeds: Sequence[int]) -> Iterator[np.ndarray]:
    for seed in seeds:
        for size in _sizes(graph, fractions):
            rng = np.random.default_rng(seed)
            yield random_connected_mask(graph, size, rng) if size else np.zeros_like(graph.valid)


def _curve(
    spec: ModelSpec,
    task: Task,
    fractions: Sequence[float],
    circuits: Iterable[np.ndarray],
    memory: int | str | None,
) -> SizeCurve:
    """Measure circuits of all sizes, several times over where there are more of them than sizes."""
    counts: list[int] = []

    def masks() -> Iterator[np.ndarray]:
        yield from (spec.graph.valid, np.zeros_like(spec.graph.valid))
        for mask in circuits:
            counts.append(int(mask.sum()))
            yield mask

    budget = budget_for(memory, [for_circuits(spec, task)])
    full, empty, *others = measure_metric(spec, task, masks(), budget)
    metric = np.stack(others).reshape(-1, len(fractions), len(full)).mean(axis=0)
    return SizeCurve(tuple(fractions), tuple(counts[: len(fractions)]), full, empty, metric)


def _sizes(graph: Graph, fractions: Sequence[float]) -> list[int]:
    return [int(fraction * graph.num_edges) for fraction in fractions]


def _check_fractions(fractions: Sequence[float]) -> None:
    rising = all(a < b for a, b in pairwise([0.0, *fractions]))
    if len(fractions) < 2 or not rising or fractions[-1] > 1:
        raise KCircuitsError(
            f"fractions must be at least two, rising, above 0 and at most 1; got {list(fractions)}"
        )
