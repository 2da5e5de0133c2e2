"""Two halves: a partition, repeatable, and as good as equal in size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.data.halves import half_indices, split_halves
from kcircuits.errors import KCircuitsError


@given(st.integers(2, 60), st.integers(0, 2**32))
def test_halves(count, seed):
    items = tuple(range(100, 100 + count))
    validation, test = split_halves(items, seed)
    assert sorted(validation + test) == list(items)
    assert len(validation) - len(test) in (0, 1)
    assert list(validation) == sorted(validation)
    assert list(test) == sorted(test)
    assert (validation, test) == split_halves(items, seed)
    assert half_indices(count, seed) == tuple(
        tuple(item - 100 for item in half) for half in (validation, test)
    )


def test_seeds_differ_and_all_prompts_come_into_both_halves():
    splits = {split_halves(range(8), seed)[0] for seed in range(50)}
    assert len(splits) > 20
    for item in range(8):
        assert (
            10
            < sum(item in validation for validation in (split_halves(range(8), s)[0] for s in range(50)))
            < 40
        )


@pytest.mark.parametrize("count", [0, 1])
def test_too_few(count):
    with pytest.raises(KCircuitsError, match=f"two halves need at least 2 prompts, got {count}"):
        split_halves(range(count), 0)
