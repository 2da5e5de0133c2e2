"""The format of sizes.json."""

from __future__ import annotations

from typing import Any

from kcircuits.analysis import checks
from kcircuits.files.documents import (
    Keys,
    anything,
    check_keys,
    is_count,
    is_number,
    is_object,
    list_of,
    or_none,
)

FORMAT = "kcircuits-sizes/1"
WHAT = "comparison of sizes"
_LONGEST_NAME = 60
_MOST_METHODS = 100
_MOST_POINTS = 10_000


def check_document(document: object) -> dict[str, Any]:
    """Check that a document has all keys of `kcircuits.sizes.SizeComparison` with their types.

    Unknown keys are ignored. Raises KCircuitsError if it is anything else.
    """
    given = checks.check_document(document, WHAT, FORMAT, _DOCUMENT)
    check_keys("metric", given["metric"], _METRIC)
    for index, method in enumerate(given["methods"]):
        check_keys(f"method {index}", method, _METHOD)
        if "settings" in method:
            check_keys(f"method {index}", method, {"settings": (is_object, "an object")})
        for number, point in enumerate(method["points"]):
            check_keys(f"method {index}, point {number}", point, _POINT)
    return given


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
