"""Circuits of one model side by side: what they share, where they are, and what they are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kcircuits.analysis.overlap import (
    edge_members,
    jaccard,
    layer_frequency,
    node_members,
    reverse_overlap,
    score_entropy,
    shared_backbone,
)
from kcircuits.analysis.two_hop import TwoHop, two_hop
from kcircuits.circuit import Circuit
from kcircuits.documents import is_number, shown
from kcircuits.errors import KCircuitsError
from kcircuits.files import write_atomically
from kcircuits.identity import called, same_weights
from kcircuits.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-comparison/1"
MOST_CIRCUITS = 200
ALL = "all"
"""The one domain where none are given."""


@dataclass(frozen=True)
class Compared:
    """One of the circuits.

    `entropy` is of its scores, in nats (`kcircuits.analysis.overlap.score_entropy`).
    """

    name: str
    domain: str
    num_edges: int
    num_nodes: int
    entropy: float | None


@dataclass(frozen=True)
class Comparison:
    """C circuits of one model.

    Parameters
    ----------
    model
        Identity of the model.
    circuits
        Names and sizes, [C].
    node_overlap, edge_overlap
        Jaccard index |Na ∩ Nb| / |Na ∪ Nb| of nodes (`Circuit.nodes`) and edges, float64 [C, C].
    reverse_overlap
        |Na ∩ Nb| / |Nb| of nodes, a the row and b the column: the share of b that a has, float64 [C, C].
    frequency
        For every domain and layer, float64 [L, 2]: the share of the domain's circuits in which a head of the
        layer takes part, mean over its heads, and in which its MLP does.
    least
        The least share of circuits that a node of the backbone is in.
    backbone
        Heads and MLPs in that share of the circuits, with their own, the greatest first.
    two_hop
        Whether one circuit contains two others, if that was asked for.
    """

    model: dict[str, Any]
    circuits: tuple[Compared, ...]
    node_overlap: np.ndarray
    edge_overlap: np.ndarray
    reverse_overlap: np.ndarray
    frequency: dict[str, np.ndarray]
    least: float
    backbone: tuple[tuple[str, float], ...]
    two_hop: TwoHop | None

    def table(self) -> DataFrame:
        """A row for every ordered pair of circuits."""
        need("pandas", "tables")
        from pandas import DataFrame

        names = [circuit.name for circuit in self.circuits]
        matrices = ("node_overlap", "edge_overlap", "reverse_overlap")
        return DataFrame(
            {"first": first, "second": second} | {matrix: getattr(self, matrix)[a, b] for matrix in matrices}
            for a, first in enumerate(names)
            for b, second in enumerate(names)
        )

    def frequency_table(self) -> DataFrame:
        """A row for every domain and layer."""
        need("pandas", "tables")
        from pandas import DataFrame

        return DataFrame(
            {"domain": domain, **row} for domain, rows in self._frequencies().items() for row in rows
        )

    def to_json(self) -> dict[str, Any]:
        """The content of comparison.json."""
        circuits = [
            {
                "name": circuit.name,
                "domain": circuit.domain,
                "edges": circuit.num_edges,
                "nodes": circuit.num_nodes,
                "entropy": circuit.entropy,
            }
            for circuit in self.circuits
        ]
        return {
            "format": FORMAT,
            "model": self.model,
            "settings": {"backbone": self.least},
            "circuits": circuits,
            "node_overlap": self.node_overlap.tolist(),
            "edge_overlap": self.edge_overlap.tolist(),
            "reverse_overlap": self.reverse_overlap.tolist(),
            "frequency": self._frequencies(),
            "backbone": [{"node": node, "share": share} for node, share in self.backbone],
            "two_hop": self.two_hop and self.two_hop.to_json(),
        }

    def save(self, path: str | Path) -> None:
        """Write comparison.json, atomically. Raises KCircuitsError if the place cannot be written."""
        write_atomically(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")

    def _frequencies(self) -> dict[str, list[dict[str, float]]]:
        return {
            domain: [
                {"layer": layer, "heads": float(heads), "mlp": float(mlp)}
                for layer, (heads, mlp) in enumerate(rows)
            ]
            for domain, rows in self.frequency.items()
        }


def compare(
    circuits: Sequence[Circuit],
    names: Sequence[str] | None = None,
    domains: Sequence[str] | None = None,
    *,
    backbone: float = 0.8,
    hops: tuple[str, str, str] | None = None,
    random_circuits: int = 100,
    seed: int = 0,
) -> Comparison:
    """Compare circuits of one model.

    Parameters
    ----------
    circuits
        At least two.
    names
        One for each, all different; by default "1", "2", …
    domains
        What each is about; layers are counted by domain. By default all are of one.
    backbone
        The least share of circuits that a shared node is in, above 0 and at most 1.
    hops
        Names of the circuits of a composed question's two parts, and of the whole question.
    random_circuits, seed
        For the hops alone: with how many random connected circuits of the whole's size to compare; random
        circuit i is drawn with seed + i.

    Raises
    ------
    KCircuitsError
        If the circuits belong to different models, or anything else of the input cannot be used.
    """
    if not 2 <= len(circuits) <= MOST_CIRCUITS:
        raise KCircuitsError(f"from 2 to {MOST_CIRCUITS} circuits can be compared, got {len(circuits)}")
    named = _checked("names", names or [str(number + 1) for number in range(len(circuits))], len(circuits))
    fields = _checked("domains", domains or [ALL] * len(circuits), len(circuits))
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise KCircuitsError(f"two circuits have the name {twice!r}: give them different ones")
    if not is_number(backbone) or not 0 < backbone <= 1:
        raise KCircuitsError(f"backbone must be a share above 0 and at most 1, got {shown(backbone)}")
    for what, number in (("random_circuits", random_circuits), ("seed", seed)):
        if type(number) is not int or number < 0:
            raise KCircuitsError(f"{what} must be a whole number, at least 0; got {shown(number)}")
    first = circuits[0]
    for name, circuit in zip(named, circuits, strict=True):
        if not same_weights(first.model, circuit.model) or first.graph != circuit.graph:
            raise KCircuitsError(
                f"the circuit {name!r} was found in the model {called(circuit.model)} and {named[0]!r} in "
                f"{called(first.model)}: compare circuits of one model"
            )
    between = hops and two_hop(
        hops[:2],
        hops[2],
        dict(zip(named, circuits, strict=True)),
        random_circuits=random_circuits,
        seed=seed,
    )
    graph, nodes = first.graph, node_members(first.graph, circuits)
    of_domain = {domain: [other == domain for other in fields] for domain in dict.fromkeys(fields)}
    edges = edge_members(circuits)
    return Comparison(
        model=first.model,
        circuits=tuple(
            Compared(name, domain, len(circuit.edges), len(circuit.nodes), score_entropy(circuit))
            for name, domain, circuit in zip(named, fields, circuits, strict=True)
        ),
        node_overlap=jaccard(nodes),
        edge_overlap=jaccard(edges),
        reverse_overlap=reverse_overlap(nodes),
        frequency={domain: layer_frequency(graph, nodes[rows]) for domain, rows in of_domain.items()},
        least=float(backbone),
        backbone=shared_backbone(graph, nodes, backbone),
        two_hop=between,
    )


def _checked(what: str, values: Sequence[str], count: int) -> tuple[str, ...]:
    if len(values) != count:
        raise KCircuitsError(f"{what} must be one for each of the {count} circuits, got {len(values)}")
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise KCircuitsError(f"{what} must be texts that are not empty, got {shown(value)}")
    return tuple(values)
