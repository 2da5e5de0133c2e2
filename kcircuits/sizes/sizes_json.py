"""The text of sizes.json: written readably, read with distrust."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kcircuits.documents import (
    Keys,
    anything,
    check_format,
    check_keys,
    is_count,
    is_number,
    is_object,
    list_of,
    or_none,
    read_document,
    shown,
)
from kcircuits.errors import KCircuitsError

FORMAT = "kcircuits-sizes/1"
_WHAT = "comparison of sizes"
_LONGEST_NAME = 60
_MOST_METHODS = 100
_MOST_POINTS = 10_000


def to_text(document: dict[str, Any]) -> str:
    """Format a document as JSON text; raises KCircuitsError if a value is not JSON."""
    try:
        return json.dumps(document, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise KCircuitsError(f"the {_WHAT} cannot be written as JSON: {error}") from error


def read(path: str | Path) -> dict[str, Any]:
    """Read a sizes.json and check its form.

    Returns
    -------
    dict
        The document; every key that `kcircuits.sizes.SizeComparison` needs is there with its type, and every
        number is finite. Keys that this version does not know are ignored.

    Raises
    ------
    KCircuitsError
        If the file cannot be read or is anything else than this. The message starts with the path.
    """
    return read_document(path, _WHAT, _check)


def _check(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise KCircuitsError(f"not a {_WHAT}: expected a JSON object, got {shown(document)}")
    check_format(document.get("format"), FORMAT, _WHAT)
    check_keys(_WHAT, document, _DOCUMENT)
    check_keys("metric", document["metric"], _METRIC)
    for index, method in enumerate(document["methods"]):
        check_keys(f"method {index}", method, _METHOD)
        for number, point in enumerate(method["points"]):
            check_keys(f"method {index}, point {number}", point, _POINT)
    return document


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME


def _is_spread(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value)) and value[0] <= value[1]


_DOCUMENT: Keys = {
    "model": (is_object, "an object"),
    "settings": (is_object, "an object"),
    "metric": (is_object, "an object"),
    "methods": (list_of(anything, _MOST_METHODS), f"a list of at most {_MOST_METHODS}"),
}
_METRIC: Keys = {
    "full": (is_number, "a number"),
    "empty": (is_number, "a number"),
}
_METHOD: Keys = {
    "name": (_is_name, "a name"),
    "points": (list_of(anything, _MOST_POINTS), f"a list of at most {_MOST_POINTS}"),
    "seconds": (or_none(is_number), "a number or null"),
    "cpr": (or_none(is_number), "a number or null"),
    "cmd": (or_none(is_number), "a number or null"),
}
_POINT: Keys = {
    "num_edges": (is_count, "a whole number from 0 on"),
    "faithfulness": (is_number, "a number"),
    "spread": (or_none(_is_spread), "a list of two rising numbers or null"),
    "threshold": (or_none(is_number), "a number or null"),
}
