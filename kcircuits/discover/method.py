"""What a method of discovery is, what it reports while it runs, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from kcircuits.circuit import Edge
from kcircuits.engine import Engine


@dataclass(frozen=True)
class Progress:
    """How far a search has come.

    Parameters
    ----------
    layer
        Whose receivers are being tested; `num_layers` while it is `logits`.
    num_layers, num_edges
        Sizes of the full graph.
    edges_settled
        Edges that have been decided, kept or removed.
    edges_removed
        Edges that have been removed.
    tests
        Sequential tests decided so far.
    """

    layer: int
    num_layers: int
    num_edges: int
    edges_settled: int
    edges_removed: int
    tests: int

    @property
    def edges_left(self) -> int:
        """Edges that are in the circuit at this moment."""
        return self.num_edges - self.edges_removed


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class Found:
    """What a method found.

    Parameters
    ----------
    edges
        The circuit's edges with their scores.
    metric
        The circuit's metric as the search knows it, or None if it does not.
    stats
        What it cost: `tests`, `evaluations` and more.
    """

    edges: tuple[Edge, ...]
    metric: float | None
    stats: dict[str, int]


class Method(Protocol):
    """A method with its options: a frozen dataclass whose fields are the options, checked when it is made."""

    name: ClassVar[str]

    def search(self, engine: Engine, memory: int, progress: ProgressCallback | None) -> Found:
        """Find the circuit, with `memory` bytes for what is evaluated together."""
        ...
