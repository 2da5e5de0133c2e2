"""Lists of edges as text: one edge per line, or a table with a header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import is_number, quote
from kcircuits.interop.edge_entries import WHAT, Columns, Entry, find_columns, is_present
from kcircuits.interop.edge_names import add_kind, is_name, tidy

_ARROW = re.compile(r"\s*(?:-{1,2}>|=>|→|⟶)\s*")
# EAP's first implementation prints `head.0.1 -> [0.25] -> head.3.5.q`.
_BETWEEN = re.compile(
    rf"(?P<sender>.+?){_ARROW.pattern}\[(?P<score>[^\[\]]+)\]{_ARROW.pattern}(?P<receiver>.+)"
)
_BEHIND = re.compile(r"(?P<name>.*[^\s:=])(?:\s*[:=]\s*|\s+)(?P<score>[^\s:=\[\]]+)")
_DELIMITERS = "\t;,"


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines, without comments (#) and blank lines."""
    for number, line in enumerate(io.StringIO(text), start=1):
        said = line.partition("#")[0].strip()
        if said:
            yield number, said


def header_of(line: str) -> tuple[Columns, str | None] | None:
    """The columns of a table and their delimiter (None: spaces), if a line is a header."""
    for delimiter in (*_DELIMITERS, None):
        names = line.split() if delimiter is None else _split_cells(line, delimiter)
        columns = find_columns(names) if len(names) > 1 else None
        if columns is not None:
            return columns, delimiter
    return None


def entry_of_row(number: int, line: str, columns: Columns, delimiter: str | None) -> Entry | None:
    """The edge in a row of a table; None if the row marks it as absent."""
    cells = line.split() if delimiter is None else _split_cells(line, delimiter)
    if len(cells) <= max(columns.places.values()):
        raise KCircuitsError(
            f"line {number} has {len(cells)} cells, fewer than the header needs: {quote(line)}"
        )
    present = columns.of("present", cells)
    try:
        if present is not None and not is_present(present):
            return None
    except KCircuitsError as error:
        raise KCircuitsError(f"line {number}: {error}") from error
    edge = columns.of("edge", cells)
    if edge is None:
        sender, receiver = columns.of("sender", cells) or "", columns.of("receiver", cells) or ""
    else:
        sender, arrow, receiver = _partition(edge)
        if not arrow:
            raise KCircuitsError(f"line {number}: an edge is 'sender -> receiver', got {quote(edge)}")
    kind = (columns.of("kind", cells) or "").strip().lower()
    receiver = add_kind(receiver, kind)
    score = columns.of("score", cells)
    return Entry("line", number, tidy(sender), tidy(receiver), score_of(f"line {number}", score), columns.own)


def entry_of_text(unit: str, number: int, text: str) -> Entry:
    """The edge in a line, `sender -> receiver` or its two ends side by side, optionally followed by a score.

    Raises KCircuitsError if it has another form.
    """
    where = f"{unit} {number:d}"
    if match := _BETWEEN.fullmatch(text):
        return _entry(unit, number, match["sender"], match["receiver"], match["score"])
    text = _ARROW.sub("->", text, count=1)
    cells = next(
        (cells for cells in (_split_cells(text, each) for each in _DELIMITERS) if len(cells) > 1), [text]
    )
    sender, arrow, receiver = _partition(cells[0])
    if arrow and len(cells) <= 2:
        score = cells[1] if len(cells) == 2 else None
        if score is None and not is_name(tidy(receiver)):  # a name may also end in a number
            match = _BEHIND.fullmatch(receiver)
            if match is not None and _is_float(match["score"]):
                receiver, score = match["name"], match["score"]
        return _entry(unit, number, sender, receiver, score)
    if not arrow:
        if len(cells) == 1:
            words = text.split()
            cells = words if len(words) in (2, 3) and all(map(is_name, words[:2])) else cells
        if len(cells) in (2, 3):
            return _entry(unit, number, cells[0], cells[1], cells[2] if len(cells) == 3 else None)
    raise KCircuitsError(
        f"{where} must be 'sender -> receiver', optionally followed by a score, got {quote(text)}; "
        "a table begins with a header such as src,dst,score"
    )


def score_of(where: str, text: str | None) -> float | None:
    """The score in a cell; None if it is empty. Raises KCircuitsError if it is not a finite number."""
    if text is None or not text.strip():
        return None
    if not _is_float(text):
        raise KCircuitsError(f"{where}: the score must be a number, got {quote(text)}")
    score = float(text)
    if not is_number(score):
        raise KCircuitsError(f"{where}: the score must be finite, got {text.strip()}")
    return score


def _entry(unit: str, number: int, sender: str, receiver: str, score: str | None) -> Entry:
    found = score_of(f"{unit} {number:d}", score)
    return Entry(unit, number, tidy(sender), tidy(receiver), found)


def _partition(text: str) -> tuple[str, str, str]:
    """The text before an arrow, the arrow, and the text after it."""
    arrow = _ARROW.search(text)
    return (text, "", "") if arrow is None else (text[: arrow.start()], "->", text[arrow.end() :])


def _split_cells(line: str, delimiter: str) -> list[str]:
    """Split a line into cells, but not at delimiters in quotes or brackets, as in `[:, :, 2]`."""
    if delimiter not in line:
        return [line.strip().strip("\"'")]
    try:
        parts = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error as error:
        raise KCircuitsError(f"not a {WHAT}: {error}") from error
    cells: list[str] = []
    for part in parts:
        if cells and cells[-1].count("[") > cells[-1].count("]"):
            cells[-1] += f"{delimiter}{part}"
        else:
            cells.append(part)
    return [cell.strip().strip("\"'") for cell in cells]


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
