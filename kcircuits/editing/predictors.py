"""What of a neighbour, known before an edit, foretells what the edit does to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kcircuits.editing.neighbours import Neighbour
from kcircuits.errors import KCircuitsError
from kcircuits.evaluate.intervals import Interval, bounds, percentile_interval, resampling_weights
from kcircuits.evaluate.rank_correlation import rank_correlation

PREDICTORS = ("key_cosine", "key_overlap", "circuit_overlap", "margin")


@dataclass(frozen=True)
class Predictor:
    """How one property of neighbours goes with their damage, −change.

    Parameters
    ----------
    name
        One of `PREDICTORS`, an attribute of `Neighbour`.
    correlation
        Spearman's rank correlation over all neighbours of all edits; None where one of both does not vary.
    interval
        Its bootstrap interval (95 %), edits being drawn rather than neighbours, as those of one edit are
        alike; None for fewer than two edits.
    """

    name: str
    correlation: float | None
    interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "interval": bounds(self.interval)}


def predictors(edits: Sequence[Sequence[Neighbour]], *, seed: int = 0) -> tuple[Predictor, ...]:
    """Correlate every property with the damage.

    Parameters
    ----------
    edits
        The neighbours of each edit, as `read_neighbours` gives them.
    seed
        Of the bootstrap.

    Raises
    ------
    KCircuitsError
        If there are no neighbours.
    """
    groups = [group for group in edits if group]
    if not groups:
        raise KCircuitsError("there are no neighbours to tell anything from")
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    every = [each for group in groups for each in group]
    damage = np.array([-each.change for each in every])
    weights = resampling_weights(len(groups), seed)
    found = []
    for name in PREDICTORS:
        values = np.array([getattr(each, name) for each in every])
        interval = None if weights is None else _interval(values, damage, owner, weights)
        found.append(Predictor(name, rank_correlation(values, damage), interval))
    return tuple(found)


def _interval(
    values: np.ndarray, damage: np.ndarray, owner: np.ndarray, weights: np.ndarray
) -> Interval | None:
    times = np.rint(weights * weights.shape[1]).astype(int)[:, owner]  # [RESAMPLES, neighbours]
    drawn = [rank_correlation(np.repeat(values, row), np.repeat(damage, row)) for row in times]
    known = [each for each in drawn if each is not None]
    return percentile_interval(np.array(known)) if known else None
