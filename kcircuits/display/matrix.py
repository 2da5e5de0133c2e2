"""Shares between 0 and 1 as a shaded table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kcircuits.display.html import Html, scroll_box, tag
from kcircuits.display.numbers import number


def matrix(title: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[float]]]) -> Html:
    """A table with darker cells for values closer to 1. Each row has a name and its values."""
    head = tag("tr", tag("td"), *(tag("th", name, scope="col") for name in columns))
    body = (tag("tr", tag("th", name, scope="row"), *map(_cell, values)) for name, values in rows)
    made = tag("table", tag("caption", title), tag("thead", head), tag("tbody", *body), class_="matrix")
    return scroll_box(made, title)


def _cell(value: float) -> Html:
    level = min(5, max(0, int(value * 6)))
    return tag("td", number(value, ".2f"), class_=f"level-{level}")
