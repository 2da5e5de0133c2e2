"""How far a comparison has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcircuits.discovery import Progress, Steps


@dataclass(frozen=True)
class MethodProgress:
    """Where a comparison of several methods is.

    Parameters
    ----------
    method
        The one at work.
    methods_done, num_methods
        How many methods are done, of how many.
    runs_done, num_runs
        How many of the method's own searches are done: one per threshold or trained size.
    inner
        How far the search at work has come; None before it has told.
    """

    method: str
    methods_done: int
    num_methods: int
    runs_done: int
    num_runs: int
    inner: Progress | Steps | None

    @property
    def share(self) -> float:
        """Share of the work that is done, as if all methods and all their searches took as long."""
        within = 0.0 if self.inner is None else self.inner.share
        return (self.methods_done + (self.runs_done + within) / self.num_runs) / self.num_methods

    @property
    def place(self) -> str:
        """Where the work is, in words."""
        return self.method if self.inner is None else f"{self.method}: {self.inner.place}"

    def figures(self, seconds: float) -> str:
        """What is done, in words."""
        return f"{self.methods_done} of {self.num_methods} methods"


MethodProgressCallback = Callable[[MethodProgress], None]
