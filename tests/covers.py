"""Chosen cases of several parameters, for tests that would say the same again for the product of all.

A parameter is a list of values, or a dictionary from the names of cases to their values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import pytest
from allpairspy import AllPairs

Case = tuple[str, Any]


def pairwise(**parameters: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrise a test such that any two values of different parameters meet in a case.

    Of two parameters this is the product.
    """
    named = [_named(values) for values in parameters.values()]
    places = AllPairs([list(range(len(values))) for values in named])
    return _parametrised(
        parameters, [[values[at] for values, at in zip(named, case, strict=True)] for case in places]
    )


def every_value(**parameters: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrise a test such that each value occurs: the longest list once, the shorter ones in turns."""
    named = [_named(values) for values in parameters.values()]
    longest = max(map(len, named))
    columns = [islice(cycle(values), longest) for values in named]
    return _parametrised(parameters, zip(*columns, strict=True))


def _named(values: Iterable[Any]) -> list[Case]:
    if isinstance(values, Mapping):
        return list(values.items())
    return [(getattr(value, "__name__", str(value)), value) for value in values]


def _parametrised(names: Iterable[str], cases: Iterable[Sequence[Case]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        list(names),
        [
            pytest.param(*(value for _, value in case), id="-".join(name for name, _ in case))
            for case in cases
        ],
    )
