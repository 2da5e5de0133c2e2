"""The scores that an attribution method gives to every edge of a model's graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kcircuits.circuit import Circuit, Edge
from kcircuits.circuit.edge_table import edge_table
from kcircuits.display.result import DisplayedResult, Panels
from kcircuits.display.text import name_of, printable
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.files.writing import write_atomically
from kcircuits.graph import Graph
from kcircuits.graph.identity import check_same_weights, graph_of
from kcircuits.scores import scores_file
from kcircuits.scores.selection import Level, Selection, select

if TYPE_CHECKING:
    from pandas import DataFrame


def edges_of(graph: Graph, mask: np.ndarray, matrix: np.ndarray) -> tuple[Edge, ...]:
    """The edges of a mask, bool [S, R], with their scores from a matrix, [S, R]."""
    senders, receivers = graph.senders, graph.receivers
    scored = zip(np.argwhere(mask).tolist(), matrix[mask].tolist(), strict=True)
    return tuple(Edge(senders[s], receivers[r], score) for (s, r), score in scored)


@dataclass(frozen=True, eq=False, repr=False)
class Scores(DisplayedResult):
    """One number per edge of a model's graph, with its origin.

    `save` and `load` use a .safetensors file. Scores are equal if all of their fields are equal, and they are
    hashable. `kcircuits.attribute` returns scores, and `select` turns them into a circuit.

    Parameters
    ----------
    graph
        The full graph.
    model
        The identity of the model that was scored (`Model.identity`).
    method, settings
        How the scores were computed; settings are JSON values.
    matrix
        Scores, [S, R], 0 where there is no edge; kept as a read-only float32 copy. With the methods of this
        package, a positive score means that ablating the edge makes the metric worse.

    Raises
    ------
    KCircuitsError
        If the model has another graph, or the matrix has another shape, an entry that is not finite, or a
        nonzero entry where there is no edge.

    Examples
    --------
    >>> identity = {"name": "tiny", "num_layers": 1, "num_heads": 1, "num_kv_heads": 1}
    >>> graph = graph_of(identity)
    >>> scores = Scores(graph, identity, "eap", {}, np.where(graph.valid, 0.5, 0))
    >>> dict(zip(graph.senders, scores.of_senders().tolist()))
    {'input': 2.5, 'a0.h0': 1.0, 'm0': 0.5}
    """

    graph: Graph
    model: dict[str, Any]
    method: str
    settings: dict[str, Any]
    matrix: np.ndarray

    def __post_init__(self) -> None:
        own = graph_of(self.model)
        if own != self.graph:
            raise KCircuitsError(f"the model's graph is {own}, but the scores have the graph {self.graph}")
        object.__setattr__(self, "matrix", _check_matrix(self.graph, self.matrix))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.graph, self.method, (self.matrix + 0).tobytes()))  # + 0 turns -0 into 0

    def describe(self) -> str:
        """Two lines: the method and the number of edges, then the strongest edges."""
        name = name_of(self.model)
        order = np.argsort(-np.abs(self.matrix), axis=None, kind="stable")[:3]
        places = (np.unravel_index(index, self.matrix.shape) for index in order)
        senders, receivers = self.graph.senders, self.graph.receivers
        edges = ", ".join(
            f"{senders[s]}->{receivers[r]} {self.matrix[s, r]:+.3g}" for s, r in places if self.matrix[s, r]
        )
        title = f"Scores of {self.graph.num_edges:,} edges of {name} by {printable(self.method, 30)}"
        return f"{title}\nstrongest: {edges or 'all are 0'}"

    def panels(self) -> Panels:
        """ "nodes": the score of every head and MLP (`of_senders`), layers from the bottom up."""
        from kcircuits.scores.plot import PANELS

        return PANELS

    def of_senders(self) -> np.ndarray:
        """Node scores: the sum of each sender's scores over receivers, float32 [S].

        For methods that use one gradient per receiver (EAP and its variants) this is exactly node
        attribution, (ã_n − a_n) · ∂metric/∂a_n: the gradient at a node's output is the sum of the gradients
        at the receivers that read it.
        """
        return _sum(self.matrix, axis=1)

    def of_receivers(self) -> np.ndarray:
        """The sum of the scores of all edges into each receiver, float32 [R]."""
        return _sum(self.matrix, axis=0)

    def of_heads(self) -> np.ndarray:
        """The node scores of the attention heads, float32 [L, H]; 0 for a head that a layer does not have."""
        return self.graph.by_layer(self.of_senders())[:, :-1]

    def edges(self, mask: np.ndarray) -> tuple[Edge, ...]:
        """The edges in a mask, bool [S, R], with their scores.

        Raises KCircuitsError if the mask has another shape or dtype, or a True entry that is not an edge.
        """
        if mask.shape != self.matrix.shape or mask.dtype != bool:
            expected = f"bool {list(self.matrix.shape)}"
            raise KCircuitsError(f"a mask must be {expected}, got {mask.dtype} {list(mask.shape)}")
        if (mask & ~self.graph.valid).any():
            raise KCircuitsError(
                f"the mask has {_first(self.graph, mask & ~self.graph.valid)}, which is not an edge"
            )
        return edges_of(self.graph, mask, self.matrix)

    def table(self) -> DataFrame:
        """A data frame with a row per edge; columns as in `kcircuits.circuit.edge_table.edge_table`."""
        return edge_table(self.edges(self.graph.valid))

    def select(
        self,
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        absolute: bool = True,
        greedy: bool = False,
        level: Level = "edge",
    ) -> Circuit:
        """The circuit of the best edges, without those on no path from `input` to `logits`.

        Parameters
        ----------
        top_n, threshold, absolute, greedy, level
            As for `kcircuits.Selection`; exactly one of `top_n` and `threshold`.

        Returns
        -------
        Circuit
            Without metric, because nothing is run; `kcircuits.evaluate` measures it.

        Raises
        ------
        KCircuitsError
            If the arguments contradict each other, or no edge is left.
        """
        selection = Selection(top_n, threshold, absolute, greedy, level)
        edges = self.edges(select(self.graph, self.matrix, selection))
        settings = {**self.settings, **asdict(selection)}
        return Circuit(self.graph, self.model, self.method, settings, {}, edges, {})

    def check_model(self, identity: dict[str, Any]) -> None:
        """Check that the scores belong to a model.

        Raises KCircuitsError if the hashes of the weights differ, or one is missing.
        """
        check_same_weights("the scores were", self.model, identity)

    def save(self, path: str | Path) -> None:
        """Write a .safetensors file, atomically (format: `kcircuits.scores.scores_file`).

        Raises KCircuitsError if the file cannot be written or the settings are not JSON values.
        """
        names = {"senders": list(self.graph.senders), "receivers": list(self.graph.receivers)}
        described = {"model": self.model, "method": self.method, "settings": self.settings}
        write_atomically(path, scores_file.to_bytes(self.matrix, names | described))

    @classmethod
    def load(cls, path: str | Path) -> Scores:
        """Read what `save` wrote.

        Raises
        ------
        KCircuitsError
            If the file cannot be read, is not a file of scores, comes from a newer version, or
            contradicts the graph of its own model. The message starts with the path.
        """
        try:
            with scores_file.open_scores(path) as (metadata, read_matrix):
                graph = graph_of(metadata["model"])
                for key, names in (("senders", graph.senders), ("receivers", graph.receivers)):
                    _check_names(key, metadata[key], names)
                matrix = read_matrix(graph.valid.shape)
            return cls(graph, metadata["model"], metadata["method"], metadata["settings"], matrix)
        except KCircuitsError as error:
            raise KCircuitsError(f"{path}: {error}") from error


def _sum(matrix: np.ndarray, axis: int) -> np.ndarray:
    total: np.ndarray = matrix.sum(axis=axis, dtype=np.float64).astype(np.float32)
    return total


def _check_matrix(graph: Graph, matrix: np.ndarray) -> np.ndarray:
    """A read-only float32 copy of the matrix; raises if it does not fit the graph."""
    if not isinstance(matrix, np.ndarray) or matrix.dtype.kind != "f" or matrix.shape != graph.valid.shape:
        got = f"{matrix.dtype} {list(matrix.shape)}" if isinstance(matrix, np.ndarray) else quote(matrix)
        raise KCircuitsError(f"scores must be a float array {list(graph.valid.shape)} for {graph}, got {got}")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite and are refused below
        copy = matrix.astype(np.float32)
    bad = ~np.isfinite(copy)
    if bad.any():
        count = int(bad.sum())
        raise KCircuitsError(f"scores must be finite, but {count} are not; the first is {_first(graph, bad)}")
    misplaced = (copy != 0) & ~graph.valid
    if misplaced.any():
        raise KCircuitsError(f"a score for {_first(graph, misplaced)}, which is not an edge of {graph}")
    copy.setflags(write=False)
    return copy


def _first(graph: Graph, mask: np.ndarray) -> str:
    sender, receiver = np.argwhere(mask)[0]
    return f"{graph.senders[sender]}->{graph.receivers[receiver]}"


def _check_names(key: str, given: list[Any], names: tuple[str, ...]) -> None:
    """Check that the names in the file are those of the graph, in its order."""
    if len(given) != len(names):
        raise KCircuitsError(f"the file has {len(given)} {key}, but the model's graph has {len(names)}")
    for index, (name, expected) in enumerate(zip(given, names, strict=True)):
        if name != expected:
            raise KCircuitsError(f"{key}[{index}] is {quote(name)}, but {expected!r} in the model's graph")
