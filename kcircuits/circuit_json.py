"""The text of circuit.json: written readably, read with distrust.

What is checked here is the document: JSON, its keys and types. Whether the edges fit the graph is
`Circuit`'s own business, whoever builds it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcircuits.documents import check_format, dump_json, is_number, read_document, shown
from kcircuits.errors import KCircuitsError

FORMAT = "kcircuits/1"
_WHAT = "circuit"

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
    lines = [f'"format": {dump_json(FORMAT, "format", _WHAT)}']
    for key in _TYPES:
        if key == "edges":
            edges = ",\n".join(dump_json(edge, "edges", _WHAT) for edge in document[key])
            lines.append(f'"edges": [\n{edges}\n]')
        else:
            lines.append(f'"{key}": {dump_json(document[key], key, _WHAT)}')
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
    return read_document(path, _WHAT, _check)


def _check(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise KCircuitsError(f"not a circuit: expected a JSON object, got {shown(document)}")
    check_format(document.get("format"), FORMAT, _WHAT)
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
