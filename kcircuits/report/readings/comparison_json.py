"""comparison.json: how much circuits have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcircuits.documents import Keys, anything, check_keys, is_count, is_number, is_text, list_of
from kcircuits.report.readings.checks import LISTED, read_reading, square

FORMAT = "kcircuits-comparison/1"
MATRICES = ("node_overlap", "edge_overlap", "reverse_overlap")
MOST_CIRCUITS = 200
_WHAT = "comparison of circuits"


def read(path: str | Path) -> dict[str, Any]:
    """Read a comparison.json; its matrices have a row and a column per circuit.

    Raises KCircuitsError if it is anything else.
    """
    return read_reading(path, _WHAT, FORMAT, _DOCUMENT, _check)


def _check(document: dict[str, Any]) -> None:
    for index, circuit in enumerate(document["circuits"]):
        check_keys(f"circuit {index}", circuit, _CIRCUIT)
    length = len(document["circuits"])
    check_keys(
        _WHAT, document, dict.fromkeys(MATRICES, (square(length), f"{length} rows of {length} numbers"))
    )
    for index, node in enumerate(document["backbone"]):
        check_keys(f"backbone, {index}", node, _NODE)


_DOCUMENT: Keys = {
    "circuits": (list_of(anything, MOST_CIRCUITS), f"a list of at most {MOST_CIRCUITS}"),
    "backbone": (list_of(anything, LISTED), "a list"),
}
_CIRCUIT: Keys = {
    "name": (is_text, "a string"),
    "edges": (is_count, "a whole number from 0 on"),
    "nodes": (is_count, "a whole number from 0 on"),
}
_NODE: Keys = {"node": (is_text, "a string"), "share": (is_number, "a number")}
