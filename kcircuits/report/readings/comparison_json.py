"""comparison.json: how much circuits have in common, and in which layers they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcircuits.documents import (
    Keys,
    anything,
    check_keys,
    is_count,
    is_number,
    is_object,
    is_text,
    list_of,
    or_none,
)
from kcircuits.errors import KCircuitsError
from kcircuits.report.readings.checks import LISTED, read_reading, square

FORMAT = "kcircuits-comparison/1"
MATRICES = ("node_overlap", "edge_overlap", "reverse_overlap")
LEVELS = ("nodes", "edges")
MOST_CIRCUITS = 200
_WHAT = "comparison of circuits"


def read(path: str | Path) -> dict[str, Any]:
    """Read a comparison.json; its matrices have a row and a column per circuit.

    Raises KCircuitsError if it is anything else.
    """
    return read_reading(path, _WHAT, FORMAT, _DOCUMENT, _check)


def _check(document: dict[str, Any]) -> None:
    check_keys("settings", document["settings"], {"backbone": _NUMBER})
    for index, circuit in enumerate(document["circuits"]):
        check_keys(f"circuit {index}", circuit, _CIRCUIT)
    length = len(document["circuits"])
    check_keys(
        _WHAT, document, dict.fromkeys(MATRICES, (square(length), f"{length} rows of {length} numbers"))
    )
    for index, node in enumerate(document["backbone"]):
        check_keys(f"backbone, {index}", node, _NODE)
    _check_frequency(document["frequency"])
    if document["two_hop"] is not None:
        _check_hops(document["two_hop"])


def _check_frequency(frequency: dict[str, Any]) -> None:
    layers = set()
    for domain, rows in frequency.items():
        what = f"frequency of {domain!r}"
        check_keys(
            "frequency", frequency, {domain: (list_of(anything, LISTED), "a list with a row per layer")}
        )
        for layer, row in enumerate(rows):
            check_keys(f"{what}, layer {layer}", row, _LAYER)
            if row["layer"] != layer:
                raise KCircuitsError(f"{what}: the row of layer {layer} says that it is {row['layer']}")
        layers.add(len(rows))
    if len(layers) > 1 or 0 in layers:
        raise KCircuitsError(f"frequency: all domains have as many layers, got {sorted(layers)}")


def _check_hops(hops: dict[str, Any]) -> None:
    check_keys("two_hop", hops, _HOPS)
    for index, contained in enumerate([*hops["of_parts"], hops["of_both"], *hops["random"]]):
        check_keys(f"two_hop, what is contained, {index}", contained, dict.fromkeys(LEVELS, _NUMBER))
    check_keys("two_hop, 'p_value'", hops["p_value"], dict.fromkeys(LEVELS, _NUMBER_OR_NONE))


def _two(good: Any) -> Any:
    return lambda value: isinstance(value, list) and len(value) == 2 and all(map(good, value))


_NUMBER = (is_number, "a number")
_NUMBER_OR_NONE = (or_none(is_number), "a number or null")
_TEXT = (is_text, "a string")
_OBJECT = (is_object, "an object")
_DOCUMENT: Keys = {
    "model": _OBJECT,
    "settings": _OBJECT,
    "circuits": (list_of(anything, MOST_CIRCUITS), f"a list of at most {MOST_CIRCUITS}"),
    "backbone": (list_of(anything, LISTED), "a list"),
    "frequency": _OBJECT,
    "two_hop": (or_none(is_object), "an object or null"),
}
_CIRCUIT: Keys = {
    "name": _TEXT,
    "domain": _TEXT,
    "edges": (is_count, "a whole number from 0 on"),
    "nodes": (is_count, "a whole number from 0 on"),
    "entropy": _NUMBER_OR_NONE,
}
_NODE: Keys = {"node": _TEXT, "share": _NUMBER}
_LAYER: Keys = {"layer": (is_count, "a whole number from 0 on"), "heads": _NUMBER, "mlp": _NUMBER}
_HOPS: Keys = {
    "parts": (_two(is_text), "two names"),
    "whole": _TEXT,
    "of_parts": (_two(is_object), "two objects"),
    "of_both": _OBJECT,
    "random": (list_of(is_object, LISTED), "a list of objects"),
    "p_value": _OBJECT,
}
