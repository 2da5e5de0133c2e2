"""Confidence intervals: published values, coverage, and repeatability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.evaluation.intervals import (
    RESAMPLES,
    bounds,
    percentile_interval,
    resampling_weights,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000), st.data())
def test_wilson_lies_around_the_share(trials, data):
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    assert low < high


@given(st.integers(2, 50), st.integers(0, 2**32))
def test_weights_are_those_of_resamples(count, seed):
    weights = resampling_weights(count, seed)
    assert weights.shape == (RESAMPLES, count)
    draws = weights * count
    assert np.allclose(draws, draws.round())
    assert np.allclose(weights.sum(axis=1), 1)
    assert (weights == resampling_weights(count, seed)).all()


@pytest.mark.parametrize("count", [0, 1])
def test_one_observation_has_no_interval(count):
    assert resampling_weights(count, 0) is None
    assert bounds(None) is None


def test_weights_resample_evenly():
    weights = resampling_weights(4, 1)
    assert weights.mean(axis=0) == pytest.approx([0.25] * 4, abs=0.02)
    # The variance of a resampled mean is that of the values over their number.
    values = np.array([1.0, 2.0, 4.0, 9.0])
    assert (weights @ values).std() == pytest.approx(values.std() / 2, rel=0.1)


def test_percentiles():
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25, 975))


def test_bootstrap_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        values = rng.normal(3.0, 2.0, size=40)
        low, high = percentile_interval(resampling_weights(40, trial) @ values)
        inside += low <= 3.0 <= high
    assert 0.88 <= inside / 200 <= 0.99
