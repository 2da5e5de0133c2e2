"""Split prompts into two halves: one for discovery, the other for evaluation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, TypeVar

from kcircuits.errors import KCircuitsError

Half = Literal["validation", "test"]
T = TypeVar("T")


def half_indices(count: int, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the validation half and of the test half of `count` prompts, both in increasing order.

    Raises KCircuitsError if there are fewer than two.
    """
    if count < 2:
        raise KCircuitsError(f"two halves need at least 2 prompts, got {count}: give more, or use all")
    order = list(range(count))
    random.Random(seed).shuffle(order)
    middle = (count + 1) // 2
    return tuple(sorted(order[:middle])), tuple(sorted(order[middle:]))


def split_halves(prompts: Sequence[T], seed: int) -> tuple[tuple[T, ...], tuple[T, ...]]:
    """Split prompts at random into a validation half and a test half.

    The split depends only on the seed and the number of prompts, so the same prompts in the same order are
    always split in the same way. Each half keeps the order; the validation half has the odd prompt.

    Raises
    ------
    KCircuitsError
        If there are fewer than two prompts.

    Examples
    --------
    >>> split_halves("abcde", seed=3)
    (('a', 'c', 'd'), ('b', 'e'))
    """
    validation, test = half_indices(len(prompts), seed)
    return tuple(prompts[n] for n in validation), tuple(prompts[n] for n in test)
