"""Profiling: where the engine spends its time, compared with the speed of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any, TypeVar

import torch

from kcircuits._native import C
from kcircuits.errors import KCircuitsError

T = TypeVar("T")
Key = TypeVar("Key")

FAST = 0.7
"""Share of the machine's speed above which a product counts as fast."""

_GEMM = (2048, 1536, 576)
_GEMM_RUNS = 5


@dataclass(frozen=True)
class Work:
    """One kind of work in one layer.

    Parameters
    ----------
    op
        "edge mix", "attention", "MLP", "vocabulary", "edge scores", "gradients" or "other". Gradients, and
        the predictions that ACDC makes from them, include their own attention, MLP and vocabulary.
    products
        True for matrix products with weights, False for all other work of the op.
    layer
        Number of the layer, or None for work outside the layers.
    rows
        M of the products x · wᵀ, x [M, K], rounded up to a power of two; 0 for anything else. A product of M
        rows does M / 2 operations for every byte of float32 weights.
    calls
        Number of calls; several products may be one call.
    seconds
        Time without the parts that have rows of their own.
    flop
        Floating-point operations: of products, edge mixes and scores, and attention, not of norms.
    bytes
        Bytes if every operand is read once and every result written once; weights as stored.
    """

    op: str
    products: bool
    layer: int | None
    rows: int
    calls: int
    seconds: float
    flop: float
    bytes: float

    @property
    def name(self) -> str:
        """Name of the op and its part."""
        return f"{self.op}: products" if self.products else self.op


@dataclass(frozen=True)
class Total:
    """Sums over several entries of `Work`."""

    seconds: float
    flop: float
    bytes: float

    @property
    def flops(self) -> float:
        """Operations per second."""
        return self.flop / self.seconds if self.seconds else 0.0

    @property
    def bandwidth(self) -> float:
        """Bytes per second if every operand is read from memory once."""
        return self.bytes / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Profile:
    """The work of a call and its time.

    Parameters
    ----------
    work
        Work of the engine.
    seconds
        Wall-clock time of the call; the time that is not in `work` was spent in Python.
    gemm_flops
        Operations per second of a large float32 product, `2048 × 576` times `576 × 1536`, by the engine's
        kernel with the same number of threads: the best of several before and after the work.
    """

    work: tuple[Work, ...]
    seconds: float
    gemm_flops: float

    def by(self, key: Callable[[Work], Key]) -> dict[Key, Total]:
        """Totals of groups of work, the slowest group first.

        Examples
        --------
        >>> work = [Work("MLP", True, layer, 8, 1, 2.0, 6.0, 4.0) for layer in range(2)]
        >>> Profile(tuple(work), 5.0, 10.0).by(lambda each: each.name)
        {'MLP: products': Total(seconds=4.0, flop=12.0, bytes=8.0)}
        """
        groups: dict[Key, list[Work]] = {}
        for each in self.work:
            groups.setdefault(key(each), []).append(each)
        totals = {key: _total(group) for key, group in groups.items()}
        return dict(sorted(totals.items(), key=lambda item: -item[1].seconds))

    def products(self) -> Profile:
        """A profile of the matrix products with weights only."""
        return replace(self, work=tuple(work for work in self.work if work.products))

    @property
    def python_seconds(self) -> float:
        """Seconds spent outside the engine."""
        return self.seconds - _total(self.work).seconds

    def products_share(self, at_least: float = 0.0) -> float:
        """Share of the time spent in products that reach at least this share of the machine's speed.

        All calls of one op, layer and number of rows are judged together.
        """
        fast = [
            each.seconds
            for each in self.work
            if each.products and each.flop >= at_least * self.gemm_flops * each.seconds
        ]
        return sum(fast) / self.seconds

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON values."""
        return asdict(self)


def profile_call(run: Callable[[], T]) -> tuple[T, Profile]:
    """Call a function and record where its time goes.

    Only calls of the engine by this thread on the CPU are recorded; work on other devices continues after
    the call that started it.

    Parameters
    ----------
    run
        For example `lambda: kcircuits.discover(model, task, method)`.

    Returns
    -------
    tuple of its result and a Profile

    Raises
    ------
    KCircuitsError
        If this thread is already profiling.
    """
    speed = _gemm_flops()
    try:
        C.start_profile()
    except RuntimeError as error:
        raise KCircuitsError("profile_call: this thread is already profiling a call") from error
    start = perf_counter()
    try:
        result = run()
        seconds = perf_counter() - start
    finally:
        rows = C.stop_profile()
    work = tuple(
        Work(
            row.op,
            row.products,
            None if row.layer < 0 else row.layer,
            row.rows,
            row.calls,
            row.seconds,
            row.flop,
            row.bytes,
        )
        for row in rows
    )
    return result, Profile(work, seconds, max(speed, _gemm_flops()))


def _total(work: Iterable[Work]) -> Total:
    each = tuple(work)
    return Total(*(sum(getattr(one, name) for one in each) for name in ("seconds", "flop", "bytes")))


def _gemm_flops() -> float:
    m, n, k = _GEMM
    x, w = torch.ones(m, k), torch.ones(n, k)
    best = float("inf")
    for _ in range(_GEMM_RUNS + 1):
        start = perf_counter()
        C.cpu_linear(x, w)
        best = min(best, perf_counter() - start)
    return 2 * m * n * k / best
