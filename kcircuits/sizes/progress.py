"""Progress of a comparison of methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcircuits.discovery import Progress, Steps


@dataclass(frozen=True)
class MethodProgress:
    """Progress of a comparison of several methods.

    Parameters
    ----------
    method
        The running method.
    methods_done, num_methods
        Number of finished methods, and of all methods.
    runs_done, num_runs
        Number of finished and of all searches of the method: one per threshold or trained size.
    inner
        Progress of the running search; None before its first report.
    """

    method: str
    methods_done: int
    num_methods: int
    runs_done: int
    num_runs: int
    inner: Progress | Steps | None

    @property
    def share(self) -> float:
        """Share of finished work, assuming that all methods and all their searches take the same time."""
        within = 0.0 if self.inner is None else self.inner.share
        return (self.methods_done + (self.runs_done + within) / self.num_runs) / self.num_methods

    @property
    def place(self) -> str:
        """The current step as text."""
        return self.method if self.inner is None else f"{self.method}: {self.inner.place}"

    def figures(self, seconds: float) -> str:
        """The finished work as text."""
        return f"{self.methods_done} of {self.num_methods} methods"


MethodProgressCallback = Callable[[MethodProgress], None]
