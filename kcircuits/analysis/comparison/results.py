"""The result of `compare`, and comparison.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kcircuits.analysis.checks import LISTED, check_document, square
from kcircuits.analysis.comparison.two_hop import TwoHop
from kcircuits.display.result import Panels, Result
from kcircuits.display.text import name_of, printable
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import (
    Keys,
    anything,
    check_keys,
    is_count,
    is_number,
    is_object,
    is_text,
    list_of,
    or_none,
)
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-comparison/1"
MATRICES = ("node_overlap", "edge_overlap", "reverse_overlap")
MOST_CIRCUITS = 200
ALL = "all"
"""The name of the only domain if none are given."""


@dataclass(frozen=True)
class ComparedCircuit:
    """One of the circuits.

    `entropy` is the entropy of its scores in nats (`kcircuits.analysis.comparison.overlap.score_entropy`).
    """

    name: str
    domain: str
    num_edges: int
    num_nodes: int
    entropy: float | None


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Result):
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
        |Na ∩ Nb| / |Nb| of nodes, with a the row and b the column: the share of b that is also in a, float64
        [C, C].
    frequency
        For each domain and layer, float64 [L, 2]: the share of the domain's circuits that have a head of the
        layer, mean over its heads, and the share that have its MLP.
    least
        The minimum share of circuits for a node of the backbone.
    backbone
        Heads and MLPs in at least that share of the circuits, with their share, in falling order.
    two_hop
        Whether one circuit contains two others, if requested.
    """

    WHAT: ClassVar[str] = "comparison of circuits"

    model: dict[str, Any]
    circuits: tuple[ComparedCircuit, ...]
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
        return DataFrame(
            {"first": first, "second": second} | {matrix: getattr(self, matrix)[a, b] for matrix in MATRICES}
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

    @classmethod
    def from_json(cls, document: object) -> Comparison:
        """The comparison of a document of `to_json`; raises KCircuitsError if it is anything else."""
        given = check_document(document, cls.WHAT, FORMAT, _DOCUMENT)
        check_keys("settings", given["settings"], {"backbone": _NUMBER})
        length = len(given["circuits"])
        wanted = (square(length), f"{length} rows of {length} numbers")
        check_keys(cls.WHAT, given, dict.fromkeys(MATRICES, wanted))
        circuits = [
            check_keys(f"circuit {index}", each, _CIRCUIT) for index, each in enumerate(given["circuits"])
        ]
        backbone = [
            check_keys(f"backbone, {index}", node, _NODE) for index, node in enumerate(given["backbone"])
        ]
        hops = given["two_hop"]
        return cls(
            model=given["model"],
            circuits=tuple(
                ComparedCircuit(*(each[key] for key in ("name", "domain", "edges", "nodes", "entropy")))
                for each in circuits
            ),
            **{name: np.array(given[name], dtype=np.float64).reshape(length, length) for name in MATRICES},
            frequency=_frequency(given["frequency"]),
            least=given["settings"]["backbone"],
            backbone=tuple((node["node"], node["share"]) for node in backbone),
            two_hop=None if hops is None else TwoHop.from_json("two_hop", hops),
        )

    def describe(self) -> str:
        """Two lines: how many circuits, then their mean overlap and the backbone."""
        pairs = np.triu_indices(len(self.circuits), 1)
        nodes, edges = (float(of[pairs].mean()) for of in (self.node_overlap, self.edge_overlap))
        names = ", ".join(printable(circuit.name, 20) for circuit in self.circuits[:4])
        more = ", …" if len(self.circuits) > 4 else ""
        return (
            f"Comparison of {len(self.circuits):,} circuits of {name_of(self.model)}: {names}{more}\n"
            f"mean Jaccard index of nodes {nodes:.3f}, of edges {edges:.3f}; {len(self.backbone):,} nodes in "
            f"at least {self.least:.0%} of the circuits"
        )

    def panels(self) -> Panels:
        """ "nodes", "edges", "shares": overlaps of all pairs; "heads", "mlps": by layer and domain."""
        from kcircuits.analysis.comparison.plot import PANELS

        return PANELS

    def _frequencies(self) -> dict[str, list[dict[str, float]]]:
        return {
            domain: [
                {"layer": layer, "heads": float(heads), "mlp": float(mlp)}
                for layer, (heads, mlp) in enumerate(rows)
            ]
            for domain, rows in self.frequency.items()
        }


def _frequency(domains: dict[str, Any]) -> dict[str, np.ndarray]:
    """The rows of every domain, float64 [L, 2], checked."""
    found = {}
    for domain, rows in domains.items():
        what = f"frequency of {domain!r}"
        check_keys("frequency", domains, {domain: (list_of(anything, LISTED), "a list with a row per layer")})
        for layer, row in enumerate(rows):
            check_keys(f"{what}, layer {layer}", row, _LAYER)
            if row["layer"] != layer:
                raise KCircuitsError(f"{what}: the row of layer {layer} has 'layer' {row['layer']}")
        found[domain] = np.array([[row["heads"], row["mlp"]] for row in rows], dtype=np.float64)
    layers = {len(rows) for rows in found.values()}
    if len(layers) > 1 or 0 in layers:
        raise KCircuitsError(
            f"frequency: all domains must have the same number of layers, got {sorted(layers)}"
        )
    return found


_NUMBER = (is_number, "a number")
_TEXT = (is_text, "a string")
_COUNT = (is_count, "a whole number from 0 on")
_OBJECT = (is_object, "an object")
_DOCUMENT: Keys = {
    "model": _OBJECT,
    "settings": _OBJECT,
    "circuits": (list_of(anything, MOST_CIRCUITS), f"a list of at most {MOST_CIRCUITS}"),
    "backbone": (list_of(anything, LISTED), "a list"),
    "frequency": _OBJECT,
    "two_hop": (or_none(is_object), "an object or null"),
}
_CIRCUIT: Keys = {
    "name": _TEXT,
    "domain": _TEXT,
    "edges": _COUNT,
    "nodes": _COUNT,
    "entropy": (or_none(is_number), "a number or null"),
}
_NODE: Keys = {"node": _TEXT, "share": _NUMBER}
_LAYER: Keys = {"layer": _COUNT, "heads": _NUMBER, "mlp": _NUMBER}
