"""Lists of edges in the namings of ACDC on TransformerLens and of auto-circuit.

As JSON, a list of `[sender, receiver]`, `[sender, receiver, score]` or strings; as text, one edge per line. A
string or line is `sender -> receiver` or `sender -> receiver score`. `kcircuits.interop.edge_names` says what
names are read. Keys and values there belong to query heads. Where heads share them, the scores of a group are
summed, and the edge is in if any of its members is; likewise for `hook_embed` and `hook_pos_embed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kcircuits.circuit import Circuit, Edge
from kcircuits.documents import is_number, parse_json, read_text, shown
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.identity import graph_of
from kcircuits.interop.edge_names import is_inside_a_node, is_name, receiver_named, sender_named
from kcircuits.interop.groups import merged, ungrouped

METHOD = "edge-list"
_WHAT = "list of edges"


@dataclass(frozen=True)
class _Entry:
    """One edge as it stands in the file, and where."""

    where: str
    sender: str
    receiver: str
    score: float | None


def read_edge_list(path: str | Path, identity: dict[str, Any]) -> Circuit:
    """Read a list of edges.

    Parameters
    ----------
    path
        The file, JSON or text.
    identity
        Of the model that the circuit was found in (`Model.identity`): the file does not say.

    Returns
    -------
    Circuit
        Unmeasured, with the method "edge-list". Where the file has no scores, each edge has the score 1 and
        `settings` says `{"scored": false}`. Edges between the hooks of one head or MLP are left out.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, an entry is not understood or is there twice, an edge is not in the
        model's graph, or only some have scores. The message starts with the path and names the line.
    """
    graph = graph_of(identity)
    try:
        entries = [
            entry
            for entry in _entries(read_text(path, _WHAT))
            if not is_inside_a_node(entry.sender, entry.receiver)
        ]
        scored = _are_scored(entries)
        matrix, mask = merged(graph, *_placed(entries, ungrouped(graph)))
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}: {error}") from error
    edges = tuple(
        Edge(graph.senders[s], graph.receivers[r], float(matrix[s, r]) if scored else 1.0)
        for s, r in np.argwhere(mask)
    )
    return Circuit(graph, identity, METHOD, {"scored": scored}, {}, edges, {})


def _entries(text: str) -> Iterator[_Entry]:
    if text.lstrip().startswith(("[", "{")):
        document = parse_json(text, _WHAT)
        if not isinstance(document, list):
            raise KCircuitsError(f"not a {_WHAT}: expected a JSON list, got {shown(document)}")
        for index, value in enumerate(document):
            yield _of_json(f"entry {index}", value)
    else:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield _of_text(f"line {number}", line)


def _of_json(where: str, value: object) -> _Entry:
    if isinstance(value, str):
        return _of_text(where, value)
    if isinstance(value, list) and len(value) in (2, 3) and all(isinstance(name, str) for name in value[:2]):
        score = value[2] if len(value) == 3 else None
        if len(value) == 2 or is_number(score):
            return _Entry(where, _tidy(value[0]), _tidy(value[1]), score)
    raise KCircuitsError(
        f"{where} must be [sender, receiver], [sender, receiver, score] or a string, got {shown(value)}"
    )


def _of_text(where: str, text: str) -> _Entry:
    sender, arrow, rest = text.partition("->")
    if not arrow:
        raise KCircuitsError(
            f"{where} must be 'sender -> receiver' or have a score behind it, got {shown(text)}"
        )
    receiver, score = _tidy(rest), None
    if not is_name(receiver):  # names can end in a number, too
        start, _, end = receiver.rpartition(" ")
        try:
            receiver, score = start, float(end)
        except ValueError:
            pass  # then it is no score, and part of a name that is not understood
        else:
            if not is_number(score):
                raise KCircuitsError(f"{where}: the score must be finite, got {end}")
    return _Entry(where, _tidy(sender), receiver, score)


def _tidy(name: str) -> str:
    """One space after each comma, none around the name: indices are written both ways."""
    return re.sub(r"\s*,\s*", ", ", " ".join(name.split()))


def _are_scored(entries: list[_Entry]) -> bool:
    without = [entry for entry in entries if entry.score is None]
    if without and len(without) < len(entries):
        raise KCircuitsError(f"{without[0].where} has no score, and others have: give all or none")
    return not without


def _placed(entries: list[_Entry], graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Scores and present edges of the ungrouped graph, both [S, R]."""
    matrix = np.zeros(graph.valid.shape)
    mask = np.zeros(graph.valid.shape, dtype=bool)
    seen: dict[tuple[str, str], str] = {}
    for entry in entries:
        first = seen.setdefault((entry.sender, entry.receiver), entry.where)
        if first != entry.where:
            raise KCircuitsError(f"{entry.where} has the same edge as {first}")
        try:
            place = _place(entry, graph)
        except KCircuitsError as error:
            raise KCircuitsError(f"{entry.where}: {error}") from error
        matrix[place] += entry.score or 0.0
        mask[place] = True
    return matrix, mask


def _place(entry: _Entry, graph: Graph) -> tuple[int, int]:
    sender = graph.sender_index(sender_named(entry.sender))
    receiver = graph.receiver_index(receiver_named(entry.receiver, graph.num_layers))
    if not graph.valid[sender, receiver]:
        raise KCircuitsError(f"no edge {entry.sender} -> {entry.receiver}: the sender is computed after it")
    return sender, receiver
