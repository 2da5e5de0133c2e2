"""CSV files of prompt pairs in EAP-IG's format: texts, and token ids of the two answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from kcircuits.errors import KCircuitsError

ID_COLUMNS = (
    ("correct_idx", "incorrect_idx"),
    ("country_idx", "corrupted_country_idx"),
    ("capital_idx", "corrupted_capital_idx"),
    ("clean_answer_idx", "corrupted_answer_idx"),
    ("answer_id", "wrong_id"),
)
"""Pairs of columns with the token ids of an answer and a wrong answer."""

TEXT_COLUMNS = ("answer", "wrong", "subject")
OPTIONAL = ("corrupt", "wrong", "subject")


def is_csv(text: str) -> bool:
    """Whether a text begins with a row of column names, `clean` among them."""
    first = text.lstrip().partition("\n")[0]
    return not first.startswith(("{", "[")) and "clean" in _cells(first)


def csv_pairs(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a CSV file of prompts.

    Parameters
    ----------
    text
        Content of the file. Its columns are `clean`, `corrupted` or `corrupt`, and either texts (`answer`,
        optionally `wrong` and `subject`) or ids (a pair of `ID_COLUMNS`). Other columns are ignored.

    Yields
    ------
    where, row
        "line 2", and `{"clean": str, "corrupt": str?}` with `{"answer": str, "wrong": str?, "subject": str?}`
        or `{"answer_id": int, "wrong_id": int}`.

    Raises
    ------
    KCircuitsError
        If no column has the answers, a row has too few or too many cells, or an id is not a number.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        names = _chosen(columns)
        for row in reader:
            where = f"line {reader.line_num}"
            if None in row or None in row.values():
                raise KCircuitsError(
                    f"{where}: the row does not have {len(columns)} cells, as the first line has"
                )
            yield (
                where,
                {
                    key: _value(where, key, row[name])
                    for key, name in names.items()
                    if row[name] or key not in OPTIONAL
                },
            )
    except csv.Error as error:
        raise KCircuitsError(f"line {reader.line_num}: not CSV: {error}") from error


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _chosen(columns: list[str]) -> dict[str, str]:
    """Key -> index of its column."""
    if len(set(columns)) < len(columns):
        raise KCircuitsError("line 1: two columns have the same name")
    names = {"clean": "clean"}
    corrupt = [name for name in ("corrupted", "corrupt") if name in columns]
    pairs = [pair for pair in ID_COLUMNS if set(pair) <= set(columns)]
    texts = "answer" in columns
    if len(corrupt) > 1 or len(pairs) + texts > 1:
        raise KCircuitsError(f"line 1: several columns for one thing; got {', '.join(columns)}")
    names |= dict.fromkeys(["corrupt"] * len(corrupt), corrupt[0] if corrupt else "")
    if texts:
        return names | {name: name for name in TEXT_COLUMNS if name in columns}
    if pairs:
        return names | dict(zip(("answer_id", "wrong_id"), pairs[0], strict=True))
    if "correct_idx" in columns:
        raise KCircuitsError(
            "line 1: 'correct_idx' without 'incorrect_idx' is a year in EAP-IG's greater-than prompts, and "
            "no token; add the columns answer and wrong"
        )
    wanted = ", ".join(" and ".join(pair) for pair in ID_COLUMNS)
    raise KCircuitsError(
        f"line 1: no column says what the answer is; give answer (text), or ids in {wanted}; "
        f"got {', '.join(columns)}"
    )


def _value(where: str, key: str, cell: str) -> Any:
    if not key.endswith("_id"):
        return cell
    try:
        return int(cell)
    except ValueError:
        raise KCircuitsError(f"{where}: {key!r} must be a token id, got {cell!r:.80}") from None
