"""Ablation of heads, compared with the same number of random heads of the same layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

import numpy as np

from kcircuits.analysis.checks import LISTED, numbers
from kcircuits.evaluation.measure import measure_runs
from kcircuits.evaluation.measures import HIT_RANK, RunMeasures
from kcircuits.files.documents import Keys, check_keys, is_number, is_text, list_of
from kcircuits.graph import Graph, layer_of
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task

DRAWS = 10
"""Number of random sets of heads that an ablation is compared with."""


@dataclass(frozen=True)
class RunMeans:
    """Means over prompts of a run's metric, Hit@10 and accuracy (the answer ranks first)."""

    metric: float
    hit: float
    accuracy: float

    @classmethod
    def from_run(cls, run: RunMeasures) -> RunMeans:
        """The means of a run."""
        return cls(run.mean_metric, run.hit_at(HIT_RANK), run.accuracy)

    @classmethod
    def from_json(cls, what: str, run: object) -> RunMeans:
        """Read the means from an object such as an ablation; raises KCircuitsError if they are missing."""
        found = check_keys(what, run, dict.fromkeys(MEASURES, (is_number, "a number")))
        return cls(**{name: found[name] for name in MEASURES})


MEASURES = tuple(field.name for field in fields(RunMeans))


@dataclass(frozen=True)
class HeadAblation:
    """The full model without some heads.

    Parameters
    ----------
    name
        The group of heads.
    heads
        Their names.
    means
        Means of the run without them.
    random
        Minimum, mean and maximum of each measure over the runs without the same number of random heads of
        the same layers.
    """

    name: str
    heads: tuple[str, ...]
    means: RunMeans
    random: dict[str, tuple[float, float, float]]

    @classmethod
    def from_json(cls, what: str, ablation: object) -> HeadAblation:
        """The ablation that an object of `to_json` holds.

        Raises KCircuitsError if it is anything else; `what` names it.
        """
        means = RunMeans.from_json(what, ablation)
        found = check_keys(what, ablation, _ABLATION)
        random = {measure: found[f"random_{measure}"] for measure in MEASURES}
        return cls(
            found["role"],
            tuple(found["heads"]),
            means,
            {measure: (low, mean, high) for measure, (low, mean, high) in random.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Means over prompts; minimum, mean and maximum over the random draws."""
        document: dict[str, Any] = {"role": self.name, "heads": list(self.heads), **asdict(self.means)}
        return document | {f"random_{name}": list(values) for name, values in self.random.items()}


_ABLATION: Keys = {
    "role": (is_text, "a string"),
    "heads": (list_of(is_text, LISTED), "a list of heads"),
    **{f"random_{name}": (numbers(3), "three numbers (low, mean, high)") for name in MEASURES},
}


@dataclass(frozen=True)
class AblatedRuns:
    """The runs of a `HeadAblation`: without some heads, and without the same number of random ones."""

    name: str
    heads: tuple[str, ...]
    run: RunMeasures
    random: tuple[RunMeasures, ...]

    def means(self) -> HeadAblation:
        """Means over prompts."""
        drawn = [RunMeans.from_run(each) for each in self.random]
        columns = {measure: [getattr(each, measure) for each in drawn] for measure in MEASURES}
        spread = {measure: (min(of), fmean(of), max(of)) for measure, of in columns.items()}
        return HeadAblation(self.name, self.heads, RunMeans.from_run(self.run), spread)


def ablate_heads(
    spec: ModelSpec, task: Task, groups: Mapping[str, Sequence[str]], *, draws: int, seed: int, memory: int
) -> tuple[RunMeasures, list[AblatedRuns]]:
    """Run the full model without groups of heads, and without random ones.

    A head is ablated by removing all its outgoing edges. Random heads are drawn from the same layers, the
    same number from each, among the heads outside the group; if a layer has too few of these, among all its
    heads.

    Parameters
    ----------
    spec, task
        The model, and prompts with the ablation.
    groups
        Names of heads by group; empty groups are left out.
    draws, seed
        Number of random groups for each group, and the random seed.
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
    sets = [
        heads for of in named.values() for heads in (of, *(_draw_heads(graph, of, rng) for _ in range(draws)))
    ]
    masks = np.stack([graph.valid, *(remove_nodes(graph, heads) for heads in sets)])
    full, *runs = measure_runs(spec, task, masks, memory)
    found = []
    for place, (name, heads) in enumerate(named.items()):
        own, *random = runs[place * (draws + 1) : (place + 1) * (draws + 1)]
        found.append(AblatedRuns(name, heads, own, tuple(random)))
    return full, found


def remove_nodes(graph: Graph, nodes: Sequence[str]) -> np.ndarray:
    """All edges but those that leave some nodes, bool [S, R]."""
    mask = graph.valid.copy()
    mask[[graph.sender_index(node) for node in nodes]] = False
    return mask


def _draw_heads(graph: Graph, heads: Sequence[str], rng: np.random.Generator) -> tuple[str, ...]:
    """The same number of random heads of the same layers."""
    drawn: list[str] = []
    for layer, count in sorted(Counter(layer_of(head) for head in heads).items()):
        every = [node.name for node in graph.nodes if node.kind == "head" and node.layer == layer]
        others = [name for name in every if name not in heads]
        drawn += rng.choice(others if len(others) >= count else every, size=count, replace=False).tolist()
    return tuple(drawn)
