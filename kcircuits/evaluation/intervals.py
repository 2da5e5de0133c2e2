"""95 % confidence intervals: percentile bootstrap of means, and Wilson's for shares."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
RESAMPLES = 1000


class Interval(NamedTuple):
    """A confidence interval of the level `LEVEL`."""

    low: float
    high: float


def bounds(interval: Interval | None) -> list[float] | None:
    """An interval as JSON has it."""
    return None if interval is None else list(interval)


def resampling_weights(count: int, seed: int) -> np.ndarray | None:
    """How much each of `count` observations weighs in each bootstrap resample.

    Returns
    -------
    np.ndarray or None
        float64 [RESAMPLES, count], rows sum to 1: `weights @ values` are the resampled means. None for fewer
        than two observations, which say nothing of their spread.
    """
    if count < 2:
        return None
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return draws / count


def percentile_interval(values: np.ndarray) -> Interval:
    """The middle `LEVEL` of resampled values, [n], n at least 1."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))


def wilson_interval(successes: int, trials: int) -> Interval:
    """Wilson's score interval of a share, `successes` of at least one `trials` (Wilson 1927).

    Unlike the bootstrap it has a width even where the share is 0 or 1.

    Examples
    --------
    >>> [round(bound, 3) for bound in wilson_interval(0, 10)]
    [0.0, 0.278]
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share = successes / trials
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z / scale * (share * (1 - share) / trials + z * z / (4 * trials * trials)) ** 0.5
    # At the ends the bounds are 0 and 1 but for rounding.
    return Interval(middle - half if successes else 0.0, middle + half if successes < trials else 1.0)
