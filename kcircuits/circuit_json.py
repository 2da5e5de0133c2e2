"""The text of circuit.json: written readably, read with distrust.

What is checked here is the document: JSON, its keys and types. Whether the edges fit the graph is
`Circuit`'s own business, whoever builds it.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

from kcircuits.errors import KCircuitsError

FORMAT = "kcircuits/1"

_TYPES = {
    "model": (dict, "an object"),
    "method": (str, "a string"),
    "settings": (dict, "an object"),
    "metric": (dict, "an object"),
    "edges": (list, "a list"),
    "nodes": (list, "a list"),
    "stats": (dict, "an object"),
}
_LONGEST_NAME = 60
_EDGE_KEYS = {"src", "dst", "score"}


def to_text(document: dict[str, Any]) -> str:
    """Format a document as JSON text with one line per key and per edge.

    Raises
    ------
    KCircuitsError
        If a value is not JSON (a tensor, a path, NaN, infinity).
    """
    lines = [f'"format": {json.dumps(FORMAT)}']
    for key in _TYPES:
        if key == "edges":
            edges = ",\n".join(_dump(edge, "edges") for edge in document[key])
            lines.append(f'"edges": [\n{edges}\n]')
        else:
            lines.append(f'"{key}": {_dump(document[key], key)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read(path: str | Path) -> dict[str, Any]:
    """Read a circuit.json and check its form.

    Keys that this version does not know are ignored in the document, but not in an edge: there, one more
    key (a position span, say) would change which edge is meant.

    Returns
    -------
    dict
        The document; every key of the format is there with its type, every number is finite, and every
        edge has a string `src`, a string `dst` and a number `score`.

    Raises
    ------
    KCircuitsError
        If the file cannot be read or is anything else than this. The message starts with the path.
    """
    path = Path(path)
    try:
        return _check(_parse(_read_text(path)))
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}: {error}") from error


def shown(value: object) -> str:
    """`repr` on one line and cut to a length that an error message can carry."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _dump(value: object, key: str) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise KCircuitsError(f"the circuit's {key!r} cannot be written as JSON: {error}") from error


def _read_text(path: Path) -> str:
    try:
        # Not a device or a pipe, which may never end.
        if path.exists() and not path.is_file():
            raise KCircuitsError("not a file; give the path of a circuit.json")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise KCircuitsError("not JSON: the file is not UTF-8 text") from error
    except OSError as error:
        raise KCircuitsError(f"cannot read the circuit: {error.strerror or error}") from error


def _parse(text: str) -> object:
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise KCircuitsError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise KCircuitsError("not a circuit: the JSON is nested too deeply") from error
    except KCircuitsError:
        raise
    except ValueError as error:  # an integer with thousands of digits
        raise KCircuitsError(f"not a circuit: {error}") from error


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise KCircuitsError(f"every number must be finite, got {shown(text)}")


def _check(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise KCircuitsError(f"not a circuit: expected a JSON object, got {shown(document)}")
    _check_format(document.get("format"))
    for key, (kind, article) in _TYPES.items():
        if key not in document:
            raise KCircuitsError(f"not a circuit: the key {key!r} is missing")
        if not isinstance(document[key], kind):
            raise KCircuitsError(f"{key!r} must be {article}, got {shown(document[key])}")
    for index, edge in enumerate(document["edges"]):
        _check_edge(index, edge)
    for name, value in document["metric"].items():
        if not is_number(value):
            raise KCircuitsError(f"metric {shown(name)} must be a number, got {shown(value)}")
    return document


def _check_format(value: object) -> None:
    if value == FORMAT:
        return
    if isinstance(value, str) and re.fullmatch(r"kcircuits/[1-9]\d{0,8}", value):
        raise KCircuitsError(
            f"written in the format {value!r} by a newer kcircuits, and this one reads {FORMAT!r}: "
            "update kcircuits"
        )
    raise KCircuitsError(f'not a circuit: "format" must be {FORMAT!r}, got {shown(value)}')


def _check_edge(index: int, edge: object) -> None:
    if not isinstance(edge, dict):
        raise KCircuitsError(f"edge {index} must be an object, got {shown(edge)}")
    if edge.keys() != _EDGE_KEYS:
        raise KCircuitsError(f"edge {index} must have the keys src, dst and score, got {shown(sorted(edge))}")
    for key in ("src", "dst"):
        if not isinstance(edge[key], str) or len(edge[key]) > _LONGEST_NAME:
            raise KCircuitsError(f"edge {index}: {key!r} must be a name, got {shown(edge[key])}")
    if not is_number(edge["score"]):
        raise KCircuitsError(f"edge {index}: 'score' must be a number, got {shown(edge['score'])}")


def is_number(value: object) -> bool:
    """True for a finite float and for an int that a float can hold; a bool is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
