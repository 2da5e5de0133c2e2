"""Rank correlation against pandas'."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.evaluation.rank_correlation import rank_correlation

# Few different values, so that many are equal.
VALUES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12)


@given(VALUES)
def test_it_is_pearsons_of_mean_ranks(pairs):
    first, second = np.array(pairs, dtype=float).T
    found = rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        a, b = (pd.Series(values).rank() for values in (first, second))
        assert found == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few(count):
    assert rank_correlation(np.zeros(count), np.zeros(count)) is None
