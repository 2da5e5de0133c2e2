"""Does the circuit of a composed question contain the circuits of its parts?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kcircuits.analysis.checks import LISTED
from kcircuits.analysis.comparison.overlap import nodes_of_mask
from kcircuits.circuit import Circuit
from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import Check, Keys, check_keys, is_number, is_object, is_text, list_of
from kcircuits.graph import Graph

LEVELS = ("nodes", "edges")


@dataclass(frozen=True)
class Containment:
    """The share of one circuit's nodes and edges that are also in another circuit."""

    nodes: float
    edges: float


@dataclass(frozen=True)
class TwoHop:
    """How much of the circuits of single questions is also in the circuit of the composed question.

    Parameters
    ----------
    parts, whole
        Names of the circuits.
    of_parts
        Containment of each part.
    of_both
        Containment of the union of both parts.
    random
        Containment of the union in random connected circuits of the same size as the whole.
    """

    parts: tuple[str, str]
    whole: str
    of_parts: tuple[Containment, Containment]
    of_both: Containment
    random: tuple[Containment, ...]

    def p_value(self, level: str) -> float | None:
        """(1 + random circuits that contain as many "nodes" or "edges" or more) / (1 + random circuits).

        None without random circuits.
        """
        if not self.random:
            return None
        own = getattr(self.of_both, level)
        return (1 + sum(getattr(each, level) >= own for each in self.random)) / (1 + len(self.random))

    @classmethod
    def from_json(cls, what: str, hops: object) -> TwoHop:
        """Read an object of `to_json`. Its p-values are ignored and computed again.

        Raises KCircuitsError if it is anything else; `what` names it.
        """
        found = check_keys(what, hops, _HOPS)
        every = [*found["of_parts"], found["of_both"], *found["random"]]
        for index, each in enumerate(every):
            check_keys(f"{what}, what is contained, {index}", each, _CONTAINED)
        first, second, both, *random = (Containment(each["nodes"], each["edges"]) for each in every)
        parts = found["parts"]
        return cls((parts[0], parts[1]), found["whole"], (first, second), both, tuple(random))

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        named = dict(zip(self.parts, self.of_parts, strict=True))
        return {
            "parts": list(self.parts),
            "whole": self.whole,
            "of_parts": [vars(named[part]) for part in self.parts],
            "of_both": vars(self.of_both),
            "random": [vars(each) for each in self.random],
            "p_value": {level: self.p_value(level) for level in LEVELS},
        }


def _pair_of(good: Check) -> Check:
    return lambda value: isinstance(value, list) and len(value) == 2 and all(map(good, value))


_HOPS: Keys = {
    "parts": (_pair_of(is_text), "two names"),
    "whole": (is_text, "a string"),
    "of_parts": (_pair_of(is_object), "two objects"),
    "of_both": (is_object, "an object"),
    "random": (list_of(is_object, LISTED), "a list of objects"),
}
_CONTAINED: Keys = dict.fromkeys(LEVELS, (is_number, "a number"))


def two_hop(
    parts: tuple[str, str], whole: str, circuits: dict[str, Circuit], *, random_circuits: int, seed: int
) -> TwoHop:
    """Measure how much the whole's circuit contains of its parts, compared with random circuits of its size.

    Parameters
    ----------
    parts, whole
        Names in `circuits`, three different ones.
    circuits
        Circuits of one model, by name.
    random_circuits, seed
        Random circuit i is drawn with seed + i.

    Raises
    ------
    KCircuitsError
        If a name is unknown or given twice, or a circuit has no edges.
    """
    for name in (*parts, whole):
        if name not in circuits:
            raise KCircuitsError(f"no circuit {name!r}; the circuits are {', '.join(map(repr, circuits))}")
        if not circuits[name].edges:
            raise KCircuitsError(f"the circuit {name!r} has no edges")
    if len({*parts, whole}) < 3:
        raise KCircuitsError(f"two hops need three different circuits, got {', '.join((*parts, whole))}")
    graph = circuits[whole].graph
    first, second, composed = (circuits[name].mask() for name in (*parts, whole))
    drawn = (
        random_connected_mask(graph, int(composed.sum()), np.random.default_rng(seed + i))
        for i in range(random_circuits)
    )
    return TwoHop(
        parts=parts,
        whole=whole,
        of_parts=(measure_containment(graph, first, composed), measure_containment(graph, second, composed)),
        of_both=measure_containment(graph, first | second, composed),
        random=tuple(measure_containment(graph, first | second, mask) for mask in drawn),
    )


def measure_containment(graph: Graph, part: np.ndarray, whole: np.ndarray) -> Containment:
    """The share of one circuit's nodes and edges in another; masks bool [S, R], `part` not empty."""
    nodes, others = nodes_of_mask(graph, part), nodes_of_mask(graph, whole)
    return Containment(
        nodes=float((nodes & others).sum() / nodes.sum()), edges=float((part & whole).sum() / part.sum())
    )
