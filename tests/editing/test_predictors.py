"""What foretells damage, on neighbours made up by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kcircuits.editing.neighbours import Neighbour
from kcircuits.editing.predictors import OUTCOMES, PREDICTORS, predictors
from kcircuits.errors import KCircuitsError


def neighbour(overlap: float, change: float, margin: float = 0.5, broken: bool = False) -> Neighbour:
    return Neighbour("a b", "c", "a", overlap, overlap, 0.5, margin, change, said=True, broken=broken)


def found_in(edits, outcome="damage"):
    return {each.name: each for each in predictors(edits) if each.outcome == outcome}


def test_what_goes_with_damage_and_what_against_it():
    edits = [[neighbour(n + m / 10, -((n + m / 10) ** 3), -n - m / 10) for m in range(3)] for n in range(5)]
    found = found_in(edits)
    assert tuple(found) == PREDICTORS
    assert found["key_overlap"].correlation == pytest.approx(1)
    assert found["key_overlap"].interval == pytest.approx((1, 1))
    assert found["margin"].correlation == pytest.approx(-1)
    assert found["circuit_overlap"].correlation is None  # it does not vary
    assert found["circuit_overlap"].interval is None


def test_outcomes_are_told_apart():
    """The overlap says how much a neighbour moves, and not which way; the margin whether it breaks."""
    edits = [[neighbour(n, n, margin=-n), neighbour(n, -n, margin=-n, broken=n > 2)] for n in range(1, 5)]
    assert found_in(edits, "damage")["key_overlap"].correlation == pytest.approx(0)
    assert found_in(edits, "size")["key_overlap"].correlation == pytest.approx(1)
    assert found_in(edits, "broken")["margin"].correlation < -0.4
    nothing = [[neighbour(n, -n)] for n in range(3)]
    assert found_in(nothing, "broken")["margin"].correlation is None
    assert len(predictors(edits)) == len(PREDICTORS) * len(OUTCOMES)


def test_edits_are_drawn_not_neighbours():
    """Copies of a neighbour within its edit say nothing new: the interval stays as wide."""
    draw = np.random.default_rng(0)
    values = draw.normal(size=(12, 2))
    once = [[neighbour(a, -b)] for a, b in values]
    often = [[neighbour(a, -b)] * 20 for a, b in values]
    for name in ("key_overlap", "key_cosine"):
        few, many = found_in(once)[name], found_in(often)[name]
        assert many.correlation == pytest.approx(few.correlation)
        assert many.interval == pytest.approx(few.interval)
        assert few.interval.low < few.correlation < few.interval.high


def test_one_edit_has_no_interval():
    (first, *_) = predictors([[neighbour(1, -1), neighbour(2, -3)], []])
    assert (first.correlation, first.interval) == (pytest.approx(1), None)
    assert first.to_json() == {
        "name": "key_cosine",
        "outcome": "damage",
        "correlation": pytest.approx(1),
        "interval": None,
    }


def test_no_neighbours():
    with pytest.raises(KCircuitsError, match="no neighbours"):
        predictors([[], []])
