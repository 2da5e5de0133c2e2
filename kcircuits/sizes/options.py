"""At which sizes methods are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import MIB_FRACTIONS
from kcircuits.files.documents import is_number, quote


@dataclass(frozen=True)
class SizeOptions:
    """Sizes and thresholds; what else a method has is a field of its own object.

    Parameters
    ----------
    fractions
        Sizes of methods that score all edges and of random circuits, as shares of the graph's edges; at
        least two, rising, above 0 and at most 1.
    thresholds
        Those of `Acdc`, in units of the metric, any number in any order; None takes shares of what ablating
        every edge does (`kcircuits.discovery.acdc.THRESHOLD_SHARES`).
    pruning_fractions
        Sizes of `EdgePruning`, which is trained anew for each.

    Raises
    ------
    KCircuitsError
        If a value is out of range.
    """

    fractions: tuple[float, ...] = MIB_FRACTIONS
    thresholds: tuple[float, ...] | None = None
    pruning_fractions: tuple[float, ...] = (0.001, 0.005, 0.02, 0.1)

    def __post_init__(self) -> None:
        _check_rising("fractions", self.fractions, least=2)
        _check_rising("pruning_fractions", self.pruning_fractions, least=1)
        if self.thresholds is not None and not (
            self.thresholds and all(is_number(each) and each >= 0 for each in self.thresholds)
        ):
            raise KCircuitsError(f"thresholds must be numbers, at least 0; got {quote(self.thresholds)}")

    @property
    def settings(self) -> dict[str, Any]:
        """All of them as JSON values."""
        return {name: list(each) if isinstance(each, tuple) else each for name, each in asdict(self).items()}


def _check_rising(name: str, values: Sequence[float], least: int) -> None:
    numbers = all(map(is_number, values))
    if not numbers or len(values) < least or not all(a < b for a, b in pairwise([0.0, *values, 1 + 1e-9])):
        how_many = "at least two, " if least == 2 else "at least one, "
        raise KCircuitsError(
            f"{name} must be {how_many}rising, above 0 and at most 1; got {quote(list(values))}"
        )
