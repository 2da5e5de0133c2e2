"""Formats of numbers in reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kcircuits.evaluation.intervals import Interval

NOTHING = "–"


def number(value: float | None, form: str = ".3f") -> str:
    """A number in a format, or a dash for None. Never a negative zero.

    Examples
    --------
    >>> number(-0.0001), number(None), number(1234.5, ",.0f")
    ('0.000', '–', '1,234')
    """
    if value is None:
        return NOTHING
    text = format(value, form)
    return text if text.strip("-0.") else text.lstrip("-")


def percent(share: float, form: str = ".1f") -> str:
    """A share as a percentage.

    Examples
    --------
    >>> percent(0.125), percent(-0.5, "+.0f")
    ('12.5%', '-50%')
    """
    return f"{number(100 * share, form)}%"


def interval(bounds: Interval | None, form: str = ".3f") -> str:
    """An interval as "low to high"."""
    return NOTHING if bounds is None else f"{number(bounds.low, form)} to {number(bounds.high, form)}"
