"""The cases that tests choose in place of a product."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from tests.covers import every_value, pairwise

PARAMETERS = {"family": [f"family {i}" for i in range(9)], "ablation": "zcm", "metric": {"a": 1, "b": 2}}


def cases(mark: pytest.MarkDecorator) -> dict[str, tuple]:
    return {case.id: case.values for case in mark.args[1]}


def test_any_two_values_meet():
    mark = pairwise(**PARAMETERS)
    assert mark.args[0] == ["family", "ablation", "metric"]
    chosen = list(cases(mark).values())
    values = [PARAMETERS["family"], list("zcm"), [1, 2]]
    for first, second in combinations(range(3), 2):
        met = {(case[first], case[second]) for case in chosen}
        assert met == set(product(values[first], values[second]))
    assert len(chosen) == 27  # half of the product
    assert cases(pairwise(**PARAMETERS)) == cases(mark)


def test_every_value_occurs():
    chosen = cases(every_value(**PARAMETERS))
    assert len(chosen) == 9
    assert [set(column) for column in zip(*chosen.values(), strict=True)] == [
        set(PARAMETERS["family"]), set("zcm"), {1, 2}
    ]  # fmt: skip
    assert chosen["family 4-c-a"] == ("family 4", "c", 1)
