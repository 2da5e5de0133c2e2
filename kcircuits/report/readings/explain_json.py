"""explain.json: what an edit changed inside its model."""

from __future__ import annotations

from itertools import chain
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
    shown,
)
from kcircuits.editing.explanation import KINDS
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.identity import graph_of
from kcircuits.report.readings.checks import LISTED, TOKENS, answer_curve, numbers, read_reading
from kcircuits.report.readings.heads_json import check_node

FORMAT = "kcircuits-explanation/1"
OBJECTS = ("new", "old")
WHEN = ("before", "after")
PLACES = ("subject", "last")
CHANGES = ("added", "lost", "kept")
_WHAT = "file of what an edit changed"


def read(path: str | Path) -> dict[str, Any]:
    """Read an explain.json; its nodes are nodes of its model, and curves have a value behind every layer.

    Raises KCircuitsError if it is anything else.
    """
    return read_reading(path, _WHAT, FORMAT, _DOCUMENT, _check)


def _check(document: dict[str, Any]) -> None:
    graph = graph_of(document["model"])
    check_keys("prompt", document["prompt"], _PROMPT)
    curve = answer_curve(graph.num_layers + 1)
    for name in OBJECTS:
        times = check_keys(f"curves of {name!r}", document["curves"].get(name), dict.fromkeys(WHEN, _OBJECT))
        for when in WHEN:
            for place in PLACES:
                check_keys(f"curves of {name!r}, {when}, {place!r}", times[when].get(place), curve)
    if document["shares"] is not None:
        check_keys("shares", document["shares"], dict.fromkeys(KINDS, _NUMBER))
    for index, change in enumerate(document["changes"]):
        check_keys(f"changes, {index}", change, _CHANGE)
    length = len(document["prompt"]["tokens"])
    for index, head in enumerate(document["heads"]):
        times = check_keys(f"heads, {index}", head, dict.fromkeys(WHEN, _OBJECT))
        for when in WHEN:
            check_node(f"heads, {index}, {when}", times[when], length)
            check_keys(f"heads, {index}, {when}", times[when], {"attention": _ATTENTION})
    circuit = check_keys("circuit", document["circuit"], {"nodes": _OBJECT, "edges": _OBJECT})
    for level in ("nodes", "edges"):
        check_keys(f"circuit, {level!r}", circuit[level], dict.fromkeys(CHANGES, _NAMES))
    _check_nodes(document, graph)


def _check_nodes(document: dict[str, Any], graph: Graph) -> None:
    """The names are drawn in places that follow from them, so they must be nodes."""
    known = {*graph.senders, "logits"}
    nodes = document["circuit"]["nodes"]
    for name in chain(document["edited_nodes"], *(nodes[change] for change in CHANGES)):
        if name not in known:
            raise KCircuitsError(f"{shown(name)} is no node of {graph}")


_NUMBER = (is_number, "a number")
_OBJECT = (is_object, "an object")
_TEXT = (is_text, "a string")
_NAMES = (list_of(is_text, LISTED), "a list of names")
_ATTENTION = (lambda value: value is not None, "a row of numbers")
_DOCUMENT: Keys = {
    "model": _OBJECT,
    "settings": _OBJECT,
    "prompt": _OBJECT,
    "edited_nodes": _NAMES,
    "curves": _OBJECT,
    **dict.fromkeys(("subject_rise", "last_rise"), (or_none(is_count), "a layer or null")),
    "subject_lead": (or_none(lambda value: type(value) is int), "a whole number or null"),
    "logits": (numbers(2), "two numbers, before and after"),
    "shares": (or_none(is_object), "an object or null"),
    "changes": (list_of(anything, LISTED), "a list"),
    "heads": (list_of(anything, LISTED), "a list"),
    "circuit": _OBJECT,
}
_PROMPT: Keys = {"tokens": TOKENS, "answer": _TEXT, "wrong": _TEXT}
_CHANGE: Keys = {
    "node": _TEXT,
    "kind": (lambda value: value in KINDS, f"one of {', '.join(KINDS)}"),
    "change": _NUMBER,
    "flow": _NUMBER,
}
