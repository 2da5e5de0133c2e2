"""What is lost without some heads, beside as many random heads of the same layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from kcircuits.evaluation.measure import measure_runs
from kcircuits.evaluation.measures import HIT_RANK, RunMeasures
from kcircuits.graph import Graph, layer_of
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task

DRAWS = 10
"""Random sets of heads that an ablation is compared with."""


@dataclass(frozen=True)
class HeadAblation:
    """The full model without some heads.

    Parameters
    ----------
    name
        What the heads are.
    heads
        Their names.
    run
        The run without them.
    random
        Runs without as many random heads of the same layers.
    """

    name: str
    heads: tuple[str, ...]
    run: RunMeasures
    random: tuple[RunMeasures, ...]

    def to_json(self) -> dict[str, Any]:
        """Means over prompts; of the random draws the least, the mean and the greatest."""
        document: dict[str, Any] = {"role": self.name, "heads": list(self.heads), **means_of(self.run)}
        random = [means_of(run) for run in self.random]
        for name in _MEASURES:
            values = [run[name] for run in random]
            document[f"random_{name}"] = [min(values), fmean(values), max(values)]
        return document


_MEASURES: dict[str, Callable[[RunMeasures], float]] = {
    "metric": lambda run: run.mean_metric,
    "hit": lambda run: run.hit_at(HIT_RANK),
    "accuracy": lambda run: run.accuracy,
}


def means_of(run: RunMeasures) -> dict[str, float]:
    """What is told of a run: its mean "metric", "hit" (Hit@10) and "accuracy"."""
    return {name: of(run) for name, of in _MEASURES.items()}


def ablate_heads(
    spec: ModelSpec, task: Task, groups: Mapping[str, Sequence[str]], *, draws: int, seed: int, memory: int
) -> tuple[RunMeasures, list[HeadAblation]]:
    """Run the full model without groups of heads, and without random ones.

    A head is ablated by cutting all edges that leave it. Random heads are drawn from the same layers, as many
    of each, among those that are not of the group; where a layer has too few of these, among all its heads.

    Parameters
    ----------
    spec, task
        The model, and prompts with the ablation.
    groups
        Names of heads by what they are; empty groups are left out.
    draws, seed
        How many random groups for each, and their seed.
    memory
        Bytes for activations.

    Returns
    -------
    tuple
        The full model's run, and the ablations in the order of the groups.
    """
    graph = spec.graph
    rng = np.random.default_rng(seed)
    named = {name: tuple(heads) for name, heads in groups.items() if heads}
    sets = [heads for of in named.values() for heads in (of, *(_drawn(graph, of, rng) for _ in range(draws)))]
    masks = np.stack([graph.valid, *(without(graph, heads) for heads in sets)])
    full, *runs = measure_runs(spec, task, masks, memory)
    found = []
    for place, (name, heads) in enumerate(named.items()):
        own, *random = runs[place * (draws + 1) : (place + 1) * (draws + 1)]
        found.append(HeadAblation(name, heads, own, tuple(random)))
    return full, found


def without(graph: Graph, nodes: Sequence[str]) -> np.ndarray:
    """All edges but those that leave some nodes, bool [S, R]."""
    mask = graph.valid.copy()
    mask[[graph.sender_index(node) for node in nodes]] = False
    return mask


def _drawn(graph: Graph, heads: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    """As many random heads of the same layers."""
    drawn: list[str] = []
    for layer, count in sorted(Counter(layer_of(head) for head in heads).items()):
        every = [node.name for node in graph.nodes if node.kind == "head" and node.layer == layer]
        others = [name for name in every if name not in heads]
        drawn += rng.choice(others if len(others) >= count else every, size=count, replace=False).tolist()
    return tuple(drawn)
