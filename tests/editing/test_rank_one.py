"""The closed forms of ROME and MEMIT, against what they are defined by."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.editing.delta import LowRank
from kcircuits.editing.rank_one import batch_update, rank_one_update
from tests.editing.edits import random_moment

WIDTH, KEYS = 5, 7


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrix_of(update: LowRank | torch.Tensor) -> torch.Tensor:
    return update.matrix if isinstance(update, LowRank) else update


@given(st.integers(0, 2**16))
def test_the_key_gets_its_value_and_the_update_has_rank_one(seed):
    w, key, value = drawn(seed, WIDTH, KEYS), drawn(seed + 1, KEYS), drawn(seed + 2, WIDTH)
    update = rank_one_update(key, value - w @ key, random_moment(KEYS, seed)).matrix
    torch.testing.assert_close((w + update) @ key, value, atol=1e-4, rtol=0)
    assert torch.linalg.matrix_rank(update) == 1


@given(st.integers(0, 2**16))
def test_no_other_update_moves_ordinary_keys_less(seed):
    """Δ minimises tr(Δ C Δᵀ), the mean square that keys are moved by, among those with Δk = change."""
    key, change, moment = drawn(seed, KEYS), drawn(seed + 1, WIDTH), random_moment(KEYS, seed)

    def moved(delta: torch.Tensor) -> float:
        return float((delta @ moment @ delta.T).trace())

    best = rank_one_update(key, change, moment).matrix
    aside = drawn(seed + 2, WIDTH, KEYS)
    aside -= torch.outer(aside @ key, key) / key.square().sum()  # leaves the key alone
    assert moved(best) <= moved(best + 0.1 * aside) + 1e-5


@pytest.mark.parametrize("count", [1, 3, 7, 12])
def test_many_edits_solve_the_normal_equations(count):
    keys, changes, moment = drawn(1, count, KEYS), drawn(2, count, WIDTH), random_moment(KEYS)
    delta = matrix_of(batch_update(keys, changes, moment, 0.7)).double()
    k, c = keys.double(), moment.double()
    torch.testing.assert_close(delta @ (0.7 * c + k.T @ k), changes.double().T @ k, atol=1e-4, rtol=1e-4)


def test_one_edit_with_little_weight_is_romes():
    key, change, moment = drawn(1, KEYS), drawn(2, WIDTH), random_moment(KEYS)
    rome = rank_one_update(key, change, moment).matrix
    memit = matrix_of(batch_update(key[None], change[None], moment, 1e-8))
    torch.testing.assert_close(memit, rome, atol=1e-5, rtol=1e-4)
