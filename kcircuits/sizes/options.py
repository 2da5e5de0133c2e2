"""Options of a comparison over sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar

from kcircuits.data.metrics import MIB_FRACTIONS
from kcircuits.discovery.acdc import THRESHOLD_SHARES
from kcircuits.discovery.eap import Eap, EapIg
from kcircuits.discovery.method import Method
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import is_number, quote
from kcircuits.runtime.option_fields import option
from kcircuits.sizes.random_circuits import RandomCircuits

DEFAULT_METHODS: tuple[Method | RandomCircuits, ...] = (Eap(), EapIg(), RandomCircuits())


@dataclass(frozen=True)
class SizeOptions:
    """Sizes and thresholds. Other options are fields of the method objects.

    Parameters
    ----------
    fractions
        Sizes of methods that score all edges and of random circuits, as shares of the graph's edges; at
        least two, rising, above 0 and at most 1.
    thresholds
        Thresholds of `Acdc` in units of the metric, any number in any order. None uses shares of the effect
        of ablating all edges (`kcircuits.discovery.acdc.THRESHOLD_SHARES`).
    pruning_fractions
        Sizes of `EdgePruning`, which is trained separately for each.

    Raises
    ------
    KCircuitsError
        If a value is out of range.
    """

    title: ClassVar[str] = "Sizes"

    fractions: tuple[float, ...] = option(
        MIB_FRACTIONS, help="Circuit sizes as shares of all edges.", metavar="X,Y,…"
    )
    thresholds: tuple[float, ...] | None = option(
        None,
        help="Thresholds of acdc.",
        metavar="T,U,…",
        default_text=f"{', '.join(map(str, THRESHOLD_SHARES))} of the effect of ablating everything",
    )
    pruning_fractions: tuple[float, ...] = option(
        (0.001, 0.005, 0.02, 0.1), help="Sizes that edge-pruning is trained for.", metavar="X,Y,…"
    )

    def __post_init__(self) -> None:
        _check_rising("fractions", self.fractions, least=2)
        _check_rising("pruning_fractions", self.pruning_fractions, least=1)
        if self.thresholds is not None and not (
            self.thresholds and all(is_number(each) and each >= 0 for each in self.thresholds)
        ):
            raise KCircuitsError(f"thresholds must be numbers, at least 0; got {quote(self.thresholds)}")

    @property
    def settings(self) -> dict[str, Any]:
        """All options as JSON values."""
        return {name: list(each) if isinstance(each, tuple) else each for name, each in asdict(self).items()}


def _check_rising(name: str, values: Sequence[float], least: int) -> None:
    numbers = all(map(is_number, values))
    if not numbers or len(values) < least or not all(a < b for a, b in pairwise([0.0, *values, 1 + 1e-9])):
        how_many = "at least two, " if least == 2 else "at least one, "
        raise KCircuitsError(
            f"{name} must be {how_many}rising, above 0 and at most 1; got {quote(list(values))}"
        )
