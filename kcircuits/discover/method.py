"""What a method of discovery is, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from kcircuits.circuit import Edge
from kcircuits.discover.progress import ProgressCallback
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task


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
    scores
        The scores of all edges, float32 [S, R], or None if the method has none.
    """

    edges: tuple[Edge, ...]
    metric: float | None
    stats: dict[str, int]
    scores: np.ndarray | None = None


class Method(Protocol):
    """A method with its options, checked when it is made."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """The options as JSON values."""
        ...

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Raise KCircuitsError if the method cannot do this task."""
        ...

    def search(self, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None) -> Found:
        """Find the circuit, with `memory` bytes for what is evaluated together."""
        ...


class Scorer(Protocol):
    """A method that scores all edges: a frozen dataclass whose fields are its options."""

    name: ClassVar[str]

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Raise KCircuitsError if the method cannot do this task."""
        ...

    def scores(
        self, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None
    ) -> np.ndarray:
        """Score every edge, averaged over prompts, [S, R]; positive: ablating it makes the metric worse."""
        ...
