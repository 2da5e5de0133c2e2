"""The first rows of a pandas table as HTML, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcircuits.display.html import Html, join, tag
from kcircuits.display.text import printable

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_ROWS = 20
LONGEST_CELL = 60


def frame_html(description: str, frame: DataFrame, most: int = MOST_ROWS) -> Html:
    """A description and at most `most` rows of a table, with the number of rows left out."""
    head = tag("tr", *(tag("th", name, scope="col") for name in frame.columns))
    shown = frame.head(most).itertuples(index=False, name=None)
    rows = (tag("tr", *(tag("td", cell_text(cell)) for cell in row)) for row in shown)
    parts = [*(tag("div", line) for line in description.split("\n"))]
    parts.append(tag("table", tag("thead", head), tag("tbody", *rows)))
    if len(frame) > most:
        parts.append(tag("div", f"{len(frame) - most:,} more rows: call .table()"))
    return tag("div", join(parts))


def cell_text(value: Any) -> str:
    """A value of a table as a short text.

    Examples
    --------
    >>> cell_text(0.123456), cell_text(None), cell_text(1234), cell_text(float("nan"))
    ('0.1235', '–', '1,234', '–')
    """
    if is_missing(value):
        return "–"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else printable(value, LONGEST_CELL)


def is_missing(value: Any) -> bool:
    """True for None, NaN and pandas' NA."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)
