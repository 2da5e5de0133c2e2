"""The circuit: edges of a model's graph, with the method that found them and their measurements."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kcircuits.circuit import circuit_json
from kcircuits.display.result import Panels, Result
from kcircuits.display.text import name_of, printable
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import dump_json, is_number, prefix_errors, quote
from kcircuits.graph import Graph, kind_of
from kcircuits.graph.identity import check_same_weights, graph_of, model_label
from kcircuits.graph.paths import prune_mask
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from networkx import MultiDiGraph
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge of a circuit; `score` is the method's value: ACDC's effect, or an attribution."""

    sender: str
    receiver: str
    score: float


@dataclass(frozen=True, repr=False)
class Circuit(Result):
    """A set of edges of a model's graph, with its origin.

    Circuits are equal if all of their fields are equal, and they are hashable. `load` and `save` use the file
    circuit.json; `kcircuits.discover` and `kcircuits.Scores.select` return circuits.

    Parameters
    ----------
    graph
        The full graph.
    model
        The identity of the model that the circuit was found in (`Model.identity`).
    method, settings
        How it was found; settings are JSON values.
    metric
        Values of the metric, lower is better: "full" (the whole model), "circuit" (all other edges
        ablated), "empty" (every edge ablated). Empty if nothing has been measured.
    edges
        In any order; kept in the order of `mask()`: by sender, then by receiver.
    stats
        What the search cost: "tests", "evaluations", "seconds".

    Raises
    ------
    KCircuitsError
        If the model has another graph, an edge is not in the graph or occurs twice, or a score or metric
        is not a finite number.

    Examples
    --------
    >>> identity = {"name": "tiny", "num_layers": 1, "num_heads": 1, "num_kv_heads": 1}
    >>> edges = Edge("m0", "logits", 0.5), Edge("input", "m0", 2.0), Edge("input", "a0.h0<q>", 0.1)
    >>> circuit = Circuit(graph_of(identity), identity, "acdc", {"threshold": 0.05}, {}, edges, {})
    >>> circuit.nodes
    ('input', 'a0.h0', 'm0', 'logits')
    >>> circuit.prune().nodes
    ('input', 'm0', 'logits')
    """

    WHAT: ClassVar[str] = "circuit"

    graph: Graph
    model: dict[str, Any]
    method: str
    settings: dict[str, Any]
    metric: dict[str, float]
    edges: tuple[Edge, ...]
    stats: dict[str, Any]

    def __post_init__(self) -> None:
        own = graph_of(self.model)
        if own != self.graph:
            raise KCircuitsError(f"the model's graph is {own}, the circuit's is {self.graph}")
        for name, value in self.metric.items():
            if not is_number(value):
                raise KCircuitsError(f"metric {name!r} must be a finite number, got {quote(value)}")
        object.__setattr__(self, "edges", _check_edges(self.graph, self.edges))

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The nodes at either end of an edge, in graph order, including "input" and "logits".

        `endpoints` defines the nodes at the end of an edge into a shared key or value.
        """
        touched = self._senders.union(*(self.endpoints(edge.receiver) for edge in self.edges))
        return tuple(node for node in (*self.graph.senders, "logits") if node in touched)

    def endpoints(self, receiver: str) -> tuple[str, ...]:
        """The nodes of this circuit that an edge into `receiver` leads to.

        Usually that is the one node that owns the receiver. A key or value that a group of heads shares
        leads to those heads of the group that are senders in this circuit, or to all of them if none is.
        """
        owners = self.graph.nodes_of(receiver)
        return tuple(node for node in owners if node in self._senders) or owners

    @cached_property
    def _senders(self) -> frozenset[str]:
        return frozenset(edge.sender for edge in self.edges)

    def mask(self) -> np.ndarray:
        """The edges as a mask, bool [S, R]."""
        mask = np.zeros_like(self.graph.valid)
        for edge in self.edges:
            mask[self.graph.sender_index(edge.sender), self.graph.receiver_index(edge.receiver)] = True
        return mask

    def restrict(self, mask: np.ndarray) -> Circuit:
        """Keep only the edges that are in a mask, bool [S, R].

        The result has neither metric nor stats, because it has not been measured.
        """
        if mask.shape != self.graph.valid.shape or mask.dtype != bool:
            expected = f"bool {list(self.graph.valid.shape)}"
            raise KCircuitsError(f"a mask must be {expected}, got {mask.dtype} {list(mask.shape)}")
        kept = mask & self.mask()
        senders, receivers = self.graph.senders, self.graph.receivers
        names = {(senders[s], receivers[r]) for s, r in np.argwhere(kept)}
        edges = tuple(edge for edge in self.edges if (edge.sender, edge.receiver) in names)
        return replace(self, edges=edges, metric={}, stats={})

    def prune(self) -> Circuit:
        """Drop the edges that lie on no path from `input` to `logits` (`kcircuits.graph.paths.prune_mask`).

        The result has no metric, as after `restrict`: because of ablated biases, even such edges can change
        the metric.
        """
        return self.restrict(prune_mask(self.graph, self.mask()))

    def union(self, other: Circuit) -> Circuit:
        """The edges of either circuit; the score of a common edge is that of this circuit.

        Raises KCircuitsError if the two belong to different models.
        """
        self.check_model(other.model)
        edges = {**_by_name(other), **_by_name(self)}.values()
        return self._combine("union", other, edges)

    def intersection(self, other: Circuit) -> Circuit:
        """The common edges, with the scores and model of this circuit; both must have the same graph."""
        edges, others = _by_name(self), _by_name(other)
        return self._combine("intersection", other, (edges[name] for name in edges if name in others))

    def difference(self, other: Circuit) -> Circuit:
        """The edges of this circuit that the other one lacks; both must have the same graph."""
        edges, others = _by_name(self), _by_name(other)
        return self._combine("difference", other, (edges[name] for name in edges if name not in others))

    def _combine(self, method: str, other: Circuit, edges: Iterable[Edge]) -> Circuit:
        _check_same_graph(self, other)
        parents = [{"method": circuit.method, "settings": circuit.settings} for circuit in (self, other)]
        return Circuit(self.graph, self.model, method, {"of": parents}, {}, tuple(edges), {})

    def check_model(self, identity: dict[str, Any]) -> None:
        """Check that the circuit belongs to a model.

        Raises
        ------
        KCircuitsError
            If the hashes of the weights differ, or one is missing.
        """
        check_same_weights("the circuit was", self.model, identity)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.graph, self.method, self.edges))

    def describe(self) -> str:
        """Two lines: the size and the method, then the metric or the strongest edges."""
        name = name_of(self.model)
        size = f"{len(self.edges):,} of {self.graph.num_edges:,} edges, {len(self.nodes):,} nodes"
        metric = ", ".join(f"{key} {value:.4g}" for key, value in self.metric.items())
        strongest = sorted(self.edges, key=lambda edge: -abs(edge.score))[:3]
        edges = ", ".join(f"{edge.sender}->{edge.receiver} {edge.score:+.3g}" for edge in strongest)
        parts = [f"{self.settings.get('metric', 'metric')}: {metric}"] if metric else []
        parts += [f"strongest: {edges}"] if edges else ["no edges"]
        return (
            f"Circuit of {name} by {printable(self.method, 30)}: {size}\n{printable('; '.join(parts), 150)}"
        )

    def table(self) -> DataFrame:
        """A data frame with a row per edge; columns as in `kcircuits.circuit.edge_table.edge_table`."""
        from kcircuits.circuit.edge_table import edge_table

        return edge_table(self.edges)

    def panels(self) -> Panels:
        """The picture (see `kcircuits.circuit.drawing.to_dot`)."""
        from kcircuits.circuit.drawing import draw_into

        return {"picture": draw_into}

    def _repr_svg_(self) -> str | None:
        """The picture for notebooks, of the strongest edges of a large circuit; None without Graphviz."""
        from kcircuits.circuit.drawing import circuit_svg, dot_available

        return circuit_svg(self) if dot_available() else None

    def _repr_html_(self) -> str | None:
        """The table for notebooks, used if Graphviz is not installed."""
        from kcircuits.circuit.drawing import dot_available

        return None if dot_available() else super()._repr_html_()

    def to_json(self) -> dict[str, Any]:
        """The content of circuit.json."""
        edges = [{"src": edge.sender, "dst": edge.receiver, "score": edge.score} for edge in self.edges]
        return circuit_json.order_keys({**vars(self), "edges": edges, "nodes": list(self.nodes)})

    def to_text(self) -> str:
        """The text of circuit.json, with one line per key and per edge.

        Raises KCircuitsError if the settings are not JSON values.
        """
        return circuit_json.to_text(self.to_json())

    @classmethod
    def from_json(cls, document: object) -> Circuit:
        """Build a circuit from the content of a circuit.json; its list of nodes is ignored.

        Raises KCircuitsError if it is not a circuit, comes from a newer version, or contradicts the graph
        of its own model.
        """
        return cls._of(*circuit_json.parse(dump_json(document, "document", cls.WHAT)))

    @classmethod
    def load(cls, path: str | Path) -> Circuit:
        """Read a circuit.json. A file that is larger than its model's graph allows is refused unread.

        Raises KCircuitsError if the file cannot be read or `from_json` refuses its content. The message
        starts with the path.
        """
        document, listed = circuit_json.read(path)
        with prefix_errors(path):
            return cls._of(document, listed)

    @classmethod
    def _of(cls, document: dict[str, Any], listed: circuit_json.Edges) -> Circuit:
        edges = tuple(map(Edge, listed.senders, listed.receivers, listed.scores))
        rest = {key: document[key] for key in ("model", "method", "settings", "metric", "stats")}
        return cls(graph=graph_of(document["model"]), edges=edges, **rest)

    def to_networkx(self) -> MultiDiGraph:
        """The circuit as a graph of nodes, with one edge per receiver that a sender feeds.

        Returns
        -------
        networkx.MultiDiGraph
            Edges have the attributes `receiver` (a name), `kind` ("q", "k", "v", "mlp" or "logits") and
            `score`, and the receiver's name as key.
        """
        need("networkx", "graphs of networkx")
        from networkx import MultiDiGraph

        result = MultiDiGraph()
        result.add_nodes_from(self.nodes)
        for edge in self.edges:
            attributes = {"receiver": edge.receiver, "kind": kind_of(edge.receiver), "score": edge.score}
            for node in self.endpoints(edge.receiver):
                result.add_edge(edge.sender, node, key=edge.receiver, **attributes)
        return result


def edge_jaccard(first: Circuit, second: Circuit) -> float:
    """|common edges| / |edges of either|; 1 if both are empty. Both must have the same graph."""
    _check_same_graph(first, second)
    return _jaccard(_by_name(first).keys(), _by_name(second).keys())


def node_jaccard(first: Circuit, second: Circuit) -> float:
    """|common nodes| / |nodes of either|; 1 if both are empty. Both must have the same graph."""
    _check_same_graph(first, second)
    return _jaccard(first.nodes, second.nodes)


def _jaccard(first: Iterable[object], second: Iterable[object]) -> float:
    first, second = set(first), set(second)
    return len(first & second) / len(first | second) if first or second else 1.0


def _by_name(circuit: Circuit) -> dict[tuple[str, str], Edge]:
    return {(edge.sender, edge.receiver): edge for edge in circuit.edges}


def _check_same_graph(first: Circuit, second: Circuit) -> None:
    if first.graph != second.graph:
        raise KCircuitsError(
            f"the circuits are of different graphs: {first.graph} ({model_label(first.model)}) and "
            f"{second.graph} ({model_label(second.model)})"
        )


def _check_edges(graph: Graph, edges: Iterable[Edge]) -> tuple[Edge, ...]:
    """The edges in mask order, with float scores; raises if one is not in the graph or occurs twice."""
    given: list[Edge] = []
    places = array("q")  # circuits can have millions of edges: keep only eight bytes per edge here
    for edge in edges:
        sender, receiver = graph.sender_index(edge.sender), graph.receiver_index(edge.receiver)
        name = f"{edge.sender}->{edge.receiver}"
        if sender >= graph.num_senders_of[receiver]:
            raise KCircuitsError(f"no edge {name} in {graph}: the sender is computed after the receiver")
        try:
            score = float(edge.score)
        except (TypeError, ValueError, OverflowError):
            score = float("nan")
        if not math.isfinite(score):
            raise KCircuitsError(f"the score of {name} must be a finite number, got {quote(edge.score)}")
        given.append(edge if type(edge.score) is float else Edge(edge.sender, edge.receiver, score))
        places.append(sender * len(graph.receivers) + receiver)
    order = np.argsort(np.frombuffer(places, dtype=np.int64), kind="stable").tolist()
    for first, second in pairwise(order):
        if places[first] == places[second]:
            raise KCircuitsError(f"the edge {_conflict_text(given[first], given[second])}")
    return tuple(given[index] for index in order)


def _conflict_text(first: Edge, second: Edge) -> str:
    """The error message for two entries of one edge."""
    name = f"{first.sender}->{first.receiver}"
    if first.score == second.score:
        return f"{name} occurs twice"
    return f"{name} occurs twice, with the scores {first.score:g} and {second.score:g}: keep one"
