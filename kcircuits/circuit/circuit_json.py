"""Write circuit.json readably, and read it strictly.

This file checks the document: JSON, keys, types, and that it has no more edges than the graph. `Circuit`
checks that the edges are in the graph.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import check_format, dump_json, is_number, quote, read_head, read_text
from kcircuits.files.json_cursor import JsonCursor
from kcircuits.graph.identity import graph_of

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
_HEAD_BYTES = 2**20
_CONVERT = "kcircuits convert turns lists of edges and EAP-IG graphs into a circuit.json"


def max_bytes(num_edges: int) -> int:
    """Upper bound in bytes for a text or JSON file with this many edges, far above what programs write."""
    return 64 * 2**20 + 1000 * num_edges


def order_keys(document: dict[str, Any]) -> dict[str, Any]:
    """The keys of the format in its order, without others."""
    return {"format": FORMAT} | {key: document[key] for key in _TYPES}


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


@dataclass(frozen=True)
class Edges:
    """The edges of a document as columns, which take a tenth of the memory of JSON objects."""

    senders: list[str] = field(default_factory=list)
    receivers: list[str] = field(default_factory=list)
    scores: array[float] = field(default_factory=lambda: array("d"))


def read(path: str | Path) -> tuple[dict[str, Any], Edges]:
    """Read a circuit.json and check its form.

    Unknown keys of the document are ignored, but unknown keys of an edge are refused: an additional key (a
    span of positions, say) would change which edge is meant.

    Returns
    -------
    document : dict
        Every key of the format except the edges, with values of the right types.
    edges : Edges
        Scores are finite; names are not compared with the graph here.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, is not a circuit.json, or has a duplicate key or more edges than its
        model's graph (noticed before they fill the memory). The message starts with the path.
    """
    try:
        return parse(read_text(path, _WHAT, _most_bytes(path)))
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}: {error}") from error


def parse(text: str) -> tuple[dict[str, Any], Edges]:
    """The document and the edges in the text of a circuit.json, with the checks of `read`.

    Raises KCircuitsError if a check fails.
    """
    return _read(JsonCursor(text, _WHAT))


def _most_bytes(path: str | Path) -> int | None:
    """Upper bound for the file's bytes, from the model that its beginning names; None if it names none."""
    head = read_head(path, _WHAT, _HEAD_BYTES)
    try:
        cursor = JsonCursor(head.decode("utf-8-sig", errors="ignore"), _WHAT)
        for key in cursor.members():
            if key == "model":
                model = cursor.value()
                return max_bytes(graph_of(model).num_edges) if isinstance(model, dict) else None
            cursor.value()
    except KCircuitsError:
        pass  # incomplete, or not a circuit: reading the whole file tells
    return None


def _read(cursor: JsonCursor) -> tuple[dict[str, Any], Edges]:
    if cursor.next_character() != "{":
        try:
            value = cursor.value()
        except KCircuitsError as error:
            raise KCircuitsError(f"{error}; {_CONVERT}") from error
        raise KCircuitsError(f"not a circuit: expected a JSON object, got {quote(value)}; {_CONVERT}")
    document: dict[str, Any] = {}
    edges, at = Edges(), None
    for key in cursor.members():
        if key != "edges" or cursor.next_character() != "[":
            document[key] = cursor.value()
            continue
        document[key], at = [], cursor.mark()
        if document.get("format") == FORMAT and isinstance(document.get("model"), dict):
            _fill(edges, cursor, graph_of(document["model"]).num_edges)
            at = None
        else:
            cursor.skip()  # the model follows after the edges
    cursor.end()
    _check(document)
    if at is not None:
        cursor.go_to(at)
        _fill(edges, cursor, graph_of(document["model"]).num_edges)
    del document["edges"]
    return document, edges


def _fill(edges: Edges, cursor: JsonCursor, most: int) -> None:
    names: dict[str, str] = {}
    for index, edge in enumerate(cursor.elements()):
        if index == most:
            raise KCircuitsError(f"the file has more edges than its model's graph, {most:,}")
        sender, receiver, score = _check_edge(index, edge)
        edges.senders.append(names.setdefault(sender, sender))
        edges.receivers.append(names.setdefault(receiver, receiver))
        edges.scores.append(score)


def _check(document: dict[str, Any]) -> None:
    if "format" not in document and {"cfg", "edges"} <= document.keys():
        raise KCircuitsError(f"not a circuit.json but a graph of EAP-IG: {_CONVERT}")
    check_format(document.get("format"), FORMAT, _WHAT)
    for key, (kind, article) in _TYPES.items():
        if key not in document:
            raise KCircuitsError(f"not a circuit: the key {key!r} is missing")
        if not isinstance(document[key], kind):
            raise KCircuitsError(f"{key!r} must be {article}, got {quote(document[key])}")
    for name, value in document["metric"].items():
        if not is_number(value):
            raise KCircuitsError(f"metric {quote(name)} must be a number, got {quote(value)}")


def _check_edge(index: int, edge: object) -> tuple[str, str, float]:
    if not isinstance(edge, dict):
        raise KCircuitsError(f"edge {index} must be an object, got {quote(edge)}")
    if edge.keys() != _EDGE_KEYS:
        raise KCircuitsError(f"edge {index} must have the keys src, dst and score, got {quote(sorted(edge))}")
    for key in ("src", "dst"):
        if not isinstance(edge[key], str) or len(edge[key]) > _LONGEST_NAME:
            raise KCircuitsError(f"edge {index}: {key!r} must be a name, got {quote(edge[key])}")
    if not is_number(edge["score"]):
        raise KCircuitsError(f"edge {index}: 'score' must be a number, got {quote(edge['score'])}")
    return edge["src"], edge["dst"], edge["score"]
