"""What long work tells its caller while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcircuits.display.progress import Steps


@dataclass(frozen=True)
class Progress:
    """How far an ACDC search has come.

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

    @property
    def share(self) -> float:
        """Share of the time that has passed, roughly: later layers have more edges, earlier dearer tests."""
        return (self.num_layers - self.layer) / self.num_layers

    @property
    def place(self) -> str:
        """Where the search is, in words."""
        return "logits" if self.layer == self.num_layers else f"layer {self.layer}"

    def figures(self, seconds: float) -> str:
        """What has come of so many seconds, in words."""
        rate = self.tests / seconds
        return f"{self.edges_left:,} edges left, {self.tests:,} tests, {rate:,.0f} tests/s"


__all__ = ["Progress", "ProgressCallback", "Steps"]

ProgressCallback = Callable[[Progress | Steps], None]
