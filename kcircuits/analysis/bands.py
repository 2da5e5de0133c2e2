"""Means over prompts with bootstrap intervals, at each point of a curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kcircuits.display.result import ByContent
from kcircuits.evaluation.intervals import LEVEL, resampling_weights


@dataclass(frozen=True, eq=False)
class Band(ByContent):
    """A mean over prompts and its percentile bootstrap interval (95 %), each float64 [points].

    With one prompt, both ends are the mean.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {name: values.tolist() for name, values in vars(self).items()}


def bootstrap_band(values: np.ndarray, seed: int, *, geometric: bool = False) -> Band:
    """The mean over prompts of values [N, points], N at least 1.

    `geometric`: the geometric mean, for positive values such as ranks that span orders of magnitude.

    Examples
    --------
    >>> bootstrap_band(np.array([[1.0], [100.0]]), seed=0, geometric=True).mean.round(6).tolist()
    [10.0]
    """
    terms = np.log(values) if geometric else values
    weights = resampling_weights(len(terms), seed)
    mean = terms.mean(axis=0)
    low = high = mean
    if weights is not None:
        tail = 100 * (1 - LEVEL) / 2
        low, high = np.percentile(weights @ terms, [tail, 100 - tail], axis=0)
    if geometric:
        mean, low, high = np.exp(mean), np.exp(low), np.exp(high)
    return Band(mean, low, high)
