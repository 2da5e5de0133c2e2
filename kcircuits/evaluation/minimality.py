"""Minimality: what each edge of a circuit is worth to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.data.metrics import faithfulness
from kcircuits.engine.needs import for_circuits
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.intervals import (
    Interval,
    bounds,
    percentile_interval,
    resampling_weights,
    wilson_interval,
)
from kcircuits.evaluation.measure import measure_metric
from kcircuits.evaluation.prepare import check_whole, prepared
from kcircuits.model.loading import Model
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task

EDGE_LIMIT = 500
REDUNDANT_SHARE = 0.01
"""An edge is redundant if its removal changes the metric by less than this share of |m(∅) − m(M)|."""


@dataclass(frozen=True)
class Minimality:
    """The effect m(C∖e) − m(C) of removing each of K edges from a circuit C, on N prompts.

    Parameters
    ----------
    edges
        The removed edges, as "sender->receiver", [K].
    num_edges
        Edges of the circuit; more than K where a sample was taken.
    seed
        Of the sample of edges and of the bootstrap.
    full, circuit, empty
        The metric of the full model, the circuit and no edges on each prompt, float64 [N].
    without
        The metric of the circuit without each of the edges, float64 [K, N].
    """

    edges: tuple[str, ...]
    num_edges: int
    seed: int
    full: np.ndarray
    circuit: np.ndarray
    empty: np.ndarray
    without: np.ndarray

    @property
    def effects(self) -> np.ndarray:
        """Effect of each edge, averaged over prompts, float64 [K]; above 0 where removing it hurts."""
        effects: np.ndarray = (self.without - self.circuit).mean(axis=1)
        return effects

    @property
    def mean_effect(self) -> float:
        """Mean of the effects."""
        return float(self.effects.mean())

    @property
    def mean_effect_interval(self) -> Interval | None:
        """Bootstrap interval of the mean effect over edges, as a sample of such edges; None for one edge."""
        weights = resampling_weights(len(self.edges), self.seed)
        return None if weights is None else percentile_interval(weights @ self.effects)

    @property
    def num_redundant(self) -> int | None:
        """How many of the K edges change the metric by less than `REDUNDANT_SHARE` of the model's range.

        None where the full model is no better or worse than the empty circuit.
        """
        full, empty = float(self.full.mean()), float(self.empty.mean())
        if faithfulness(full, full, empty) is None:
            return None
        return int((np.abs(self.effects) < REDUNDANT_SHARE * abs(empty - full)).sum())

    @property
    def redundant_share(self) -> float | None:
        """Share of redundant edges."""
        return None if self.num_redundant is None else self.num_redundant / len(self.edges)

    @property
    def redundant_interval(self) -> Interval | None:
        """Wilson's interval of the share of redundant edges."""
        return None if self.num_redundant is None else wilson_interval(self.num_redundant, len(self.edges))

    def on(self, prompts: Sequence[int]) -> Minimality:
        """The same edges on some of the prompts, given by their indices."""
        arrays = {
            name: getattr(self, name)[..., list(prompts)] for name in ("full", "circuit", "empty", "without")
        }
        return replace(self, **arrays)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "num_edges": self.num_edges,
            "num_measured": len(self.edges),
            "mean_effect": self.mean_effect,
            "mean_effect_interval": bounds(self.mean_effect_interval),
            "redundant": self.redundant_share,
            "redundant_interval": bounds(self.redundant_interval),
            "effects": dict(zip(self.edges, self.effects.tolist(), strict=True)),
        }


def minimality(
    model: Model,
    task: Task,
    circuit: Circuit,
    *,
    limit: int = EDGE_LIMIT,
    seed: int = 0,
    memory: int | str | None = None,
) -> Minimality:
    """Remove every edge of a circuit from it in turn.

    Parameters
    ----------
    model, task, circuit, memory
        As in `kcircuits.evaluate`.
    limit
        Of a circuit with more edges, a random sample of so many is removed.
    seed
        Of the sample, and of the bootstrap.

    Raises
    ------
    KCircuitsError
        If the circuit has no edges, belongs to another model, or anything else of the input cannot be used.
    """
    spec = prepared(model, task, circuit)
    check_whole("limit", limit, least=1)
    check_whole("seed", seed)
    if not circuit.edges:
        raise KCircuitsError("minimality needs a circuit with edges, and this one has none")
    budget = budget_for(memory, [for_circuits(spec, task)])
    mask = circuit.mask()
    places = np.argwhere(mask)  # in the order of circuit.edges
    chosen = np.arange(len(places))
    if len(places) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(places), limit, replace=False))

    def masks() -> Iterator[np.ndarray]:
        yield from (circuit.graph.valid, mask, np.zeros_like(mask))
        for sender, receiver in places[chosen]:
            without = mask.copy()
            without[sender, receiver] = False
            yield without

    full, own, empty, *others = measure_metric(spec, task, masks(), budget)
    names = tuple(f"{circuit.edges[i].sender}->{circuit.edges[i].receiver}" for i in chosen)
    return Minimality(names, len(places), seed, full, own, empty, np.stack(others))
