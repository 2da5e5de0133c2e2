"""Random circuits as a baseline for methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.runtime.option_fields import option, settings_of


@dataclass(frozen=True)
class RandomCircuits:
    """Random connected circuits of each size, as a baseline in `kcircuits.compare_sizes`.

    Parameters
    ----------
    count
        Number of circuits of each size, at least 1.
    seed
        Circuit i is drawn with seed + i.

    Raises
    ------
    KCircuitsError
        If a value is out of range.
    """

    name: ClassVar[str] = "random"

    count: int = option(
        5, help="Number of random circuits of each size.", metavar="N", name="random_circuits"
    )
    seed: int = option(0, like=(EdgePruning, "seed"))

    def __post_init__(self) -> None:
        for what, value, least in (
            ("the number of random_circuits", self.count, 1),
            ("their seed", self.seed, 0),
        ):
            if type(value) is not int or value < least:
                raise KCircuitsError(f"{what} must be a whole number, at least {least}; got {quote(value)}")

    @property
    def settings(self) -> dict[str, Any]:
        """The options as JSON values, by the names that files have for them."""
        return settings_of(self)
