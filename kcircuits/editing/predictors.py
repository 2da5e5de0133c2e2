"""Properties of neighbours, known before an edit, that predict its effect on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kcircuits.editing.neighbours import Neighbour
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.intervals import Interval, bounds, percentile_interval, resampling_weights
from kcircuits.evaluation.rank_correlation import rank_correlation

PREDICTORS = ("key_cosine", "key_overlap", "circuit_overlap", "margin")
OUTCOMES: dict[str, Callable[[Neighbour], float]] = {
    "damage": lambda neighbour: -neighbour.change,
    "size": lambda neighbour: abs(neighbour.change),
    "broken": lambda neighbour: float(neighbour.broken),
}
"""Effects of an edit on a neighbour: decrease of log p(answer), its absolute change, and whether the model no
longer predicts the answer."""


@dataclass(frozen=True)
class Predictor:
    """Correlation of one property of neighbours with one outcome.

    Parameters
    ----------
    name, outcome
        One of `PREDICTORS`, an attribute of `Neighbour`, and one of `OUTCOMES`.
    correlation
        Spearman's rank correlation over all neighbours of all edits; None if one of them does not vary.
    interval
        Its bootstrap interval (95 %). Edits are resampled, not neighbours, because neighbours of one edit are
        similar. Samples in which one of them does not vary are left out. None for fewer than two edits.
    """

    name: str
    outcome: str
    correlation: float | None
    interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "interval": bounds(self.interval)}


def predictors(edits: Sequence[Sequence[Neighbour]], *, seed: int = 0) -> tuple[Predictor, ...]:
    """Correlate each property with each outcome.

    Parameters
    ----------
    edits
        The neighbours of each edit, as returned by `read_neighbours`.
    seed
        Random seed of the bootstrap.

    Raises
    ------
    KCircuitsError
        If there are no neighbours.
    """
    groups = [group for group in edits if group]
    if not groups:
        raise KCircuitsError("there are no neighbours to correlate")
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    every = [each for group in groups for each in group]
    weights = resampling_weights(len(groups), seed)
    found = []
    for outcome, of in OUTCOMES.items():
        results = np.array([of(each) for each in every])
        for name in PREDICTORS:
            values = np.array([getattr(each, name) for each in every])
            interval = None if weights is None else _interval(values, results, owner, weights)
            found.append(Predictor(name, outcome, rank_correlation(values, results), interval))
    return tuple(found)


def _interval(
    values: np.ndarray, results: np.ndarray, owner: np.ndarray, weights: np.ndarray
) -> Interval | None:
    times = np.rint(weights * weights.shape[1]).astype(int)[:, owner]  # [RESAMPLES, neighbours]
    drawn = [rank_correlation(np.repeat(values, row), np.repeat(results, row)) for row in times]
    known = [each for each in drawn if each is not None]
    return percentile_interval(np.array(known)) if known else None
