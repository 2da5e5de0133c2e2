"""Read lists of edges with the names of this project, EAP-IG, ACDC, auto-circuit and others.

A list is text with an edge per line, a table with a header (CSV, also this project's own), a list in JSON or
as Python prints it (`kcircuits.interop.edge_values`), or ACDC's subgraph in a file of `torch.save`.
`kcircuits.interop.edge_names` lists the accepted names. Keys and values of other tools belong to query heads.
If heads share them in the model, the scores of a group are summed, and an edge is present if any member is;
the same holds for `hook_embed` and `hook_pos_embed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.circuit.circuit_json import max_bytes
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote, read_text
from kcircuits.graph import Graph, head_of, kind_of
from kcircuits.graph.identity import graph_of
from kcircuits.interop.edge_entries import WHAT, Entry
from kcircuits.interop.edge_lines import entry_of_row, entry_of_text, header_of, lines_of
from kcircuits.interop.edge_names import (
    is_inside_a_node,
    is_sender,
    is_shared,
    part_of_input,
    translate_receiver,
    translate_sender,
)
from kcircuits.interop.edge_values import entries_of, entries_of_subgraph, entry_of_line, is_subgraph
from kcircuits.interop.groups import match_names, merge_groups, ungroup
from kcircuits.interop.torch_file import is_saved_by_torch, load_plain
from kcircuits.scores import edges_of

METHOD = "edge-list"
KeyHeads = Literal["shared", "query"]
_PARTS = {None: 1, "token": 2, "position": 4}


def read_edge_list(path: str | Path, identity: dict[str, Any], key_heads: KeyHeads | None = None) -> Circuit:
    """Read a list of edges.

    Parameters
    ----------
    path
        The file: text, JSON, or a subgraph of ACDC in a file of `torch.save`.
    identity
        Identity of the model that the circuit was found in (`Model.identity`); the file does not name it.
    key_heads
        Meaning of `a1.h2<k>` in a model whose heads share keys and values: the third key ("shared", as in
        this project) or the key of the third query head ("query", as in EAP-IG). The default is "query" if
        the list names a head that exists only among query heads, otherwise "shared". Names of ACDC,
        auto-circuit and EAP always count query heads.

    Returns
    -------
    Circuit
        Without a metric, with the method "edge-list". If the file has no scores, each edge has the score 1
        and `settings` has `{"scored": false}`. If `key_heads` matters, `settings` has the value used. Edges
        between the hooks of one head or MLP are left out.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, an entry cannot be parsed, an edge occurs twice or is not in the
        model's graph, or only some have scores. The message starts with the path and names the line.
    """
    graph = graph_of(identity)
    try:
        placed = _PlacedEntries(ungroup(graph), graph)
        for entry in _entries(path, graph):
            placed.add(entry)
        scored = placed.are_scored()
        key_heads = _key_heads(placed, graph, key_heads)
        settings: dict[str, Any] = {"scored": scored}
        if graph.shares_keys and placed.first_shared is not None:
            settings["key_heads"] = key_heads
        place = match_names if key_heads == "shared" else merge_groups
        matrix, mask = place(graph, placed.matrix, placed.mask)
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}: {error}") from error
    edges = edges_of(graph, mask, matrix if scored else np.ones_like(matrix))
    return Circuit(graph, identity, METHOD, settings, {}, edges, {})


def _entries(path: str | Path, graph: Graph) -> Iterator[Entry]:
    """All entries except absent edges and edges inside a node."""
    for entry in _list_entries(path, graph):
        if entry is not None and (
            is_sender(entry.sender) or not is_inside_a_node(entry.sender, entry.receiver)
        ):
            yield entry


def _list_entries(path: str | Path, graph: Graph) -> Iterable[Entry | None]:
    if is_saved_by_torch(path, WHAT):
        document = load_plain(path, WHAT)
        if not isinstance(document, dict) or not is_subgraph(document):
            raise KCircuitsError(
                f"not a {WHAT}: expected ACDC's subgraph, a dict by edges, got {quote(document)}"
            )
        return entries_of_subgraph(document)
    # Other tools have two senders for the embeddings, and ACDC also lists edges inside a node.
    text = read_text(path, WHAT, max_bytes(2 * ungroup(graph).num_edges))
    return entries_of(text) if text.lstrip()[:1] in ("[", "(", "{") else _entries_of_lines(text)


def _entries_of_lines(text: str) -> Iterator[Entry | None]:
    lines = lines_of(text)
    first = next(lines, None)
    if first is None:
        return
    header = header_of(first[1])
    if header is not None:
        for number, line in lines:
            yield entry_of_row(number, line, *header)
        return
    for number, line in (first, *lines):
        yield entry_of_line(number, line) if line[0] in "[({" else entry_of_text("line", number, line)


@dataclass
class _PlacedEntries:
    """The edges read so far, in the graph with one key and one value per query head.

    matrix, mask
        Scores and present edges, [S, R].
    first_shared, first_of_query
        The first entry of a key or value whose name may count either kind of heads, and the first one whose
        name counts query heads.
    highest
        The entry of the first kind with the highest head.
    """

    graph: Graph
    own: Graph
    matrix: np.ndarray = field(init=False)
    mask: np.ndarray = field(init=False)
    first_shared: Entry | None = None
    first_of_query: Entry | None = None
    highest: Entry | None = None
    _numbers: np.ndarray = field(init=False)
    _parts: np.ndarray = field(init=False)
    _first_with: Entry | None = None
    _first_without: Entry | None = None

    def __post_init__(self) -> None:
        shape = self.graph.valid.shape
        self.matrix, self.mask = np.zeros(shape), np.zeros(shape, dtype=bool)
        # Position of each edge by its part of `input`, to notice duplicates.
        self._numbers, self._parts = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.uint8)

    def add(self, entry: Entry) -> None:
        """Add an entry; raises KCircuitsError if it is not in the graph or occurs twice."""
        try:
            place = _place(entry, self.graph)
        except KCircuitsError as error:
            raise KCircuitsError(f"{entry.where}: {error}") from error
        part = _PARTS[part_of_input(entry.sender)]
        before = self._parts[place]
        if before & part or (before and 1 in (before, part)):
            raise KCircuitsError(self._duplicate_text(entry, place))
        if entry.score is None:
            self._first_without = self._first_without or entry
        else:
            self._first_with = self._first_with or entry
        self._note_key(entry)
        self._parts[place] |= part
        self._numbers[place] = entry.number
        self.matrix[place] += entry.score or 0.0
        self.mask[place] = True

    def are_scored(self) -> bool:
        """Whether all entries have a score; raises KCircuitsError if only some have."""
        if self._first_without is not None and self._first_with is not None:
            raise KCircuitsError(
                f"{self._first_without.where} has no score, but others have: give all or none"
            )
        return self._first_without is None

    def _duplicate_text(self, entry: Entry, place: tuple[int, int]) -> str:
        first = f"{entry.unit} {int(self._numbers[place])}"
        score = float(self.matrix[place])
        if entry.score is None or entry.score == score:
            return f"{entry.where} has the same edge as {first}"
        name = f"{entry.sender} -> {entry.receiver}"
        scores = f"with the score {entry.score:g} for {score:g}"
        return f"{entry.where} has the same edge as {first}, {name}, {scores}"

    def _note_key(self, entry: Entry) -> None:
        if is_shared(entry.receiver):
            self.first_shared = self.first_shared or entry
            if self.highest is None or _excess(entry, self.own) > _excess(self.highest, self.own):
                self.highest = entry
        elif kind_of(translate_receiver(entry.receiver, self.graph.num_layers)) in ("k", "v"):
            self.first_of_query = self.first_of_query or entry


def _key_heads(placed: _PlacedEntries, graph: Graph, wanted: KeyHeads | None) -> KeyHeads:
    """Which heads the names of keys and values count; raises KCircuitsError if names contradict."""
    shared = placed.first_shared
    if shared is None or not graph.shares_keys:
        return "query"
    assert placed.highest is not None
    layer, _ = _head(placed.highest, graph)
    fits = _excess(placed.highest, graph) < 0
    chosen: KeyHeads = wanted or ("shared" if fits or shared.own else "query")
    if chosen == "shared" and not fits:
        raise KCircuitsError(
            f"{placed.highest.where}: no receiver {placed.highest.receiver!r}, because the model has "
            f"{graph.layers[layer].num_kv_heads} key/value heads; if the list counts query heads, pass "
            'key_heads="query" (--key-heads query)'
        )
    if chosen == "shared" and placed.first_of_query is not None:
        raise KCircuitsError(
            f"{placed.first_of_query.where} names keys and values by query head, but {shared.where}, "
            f"{shared.receiver!r}, by key/value head: use one kind of names, or pass "
            'key_heads="query" (--key-heads query)'
        )
    return chosen


def _head(entry: Entry, graph: Graph) -> tuple[int, int]:
    found = head_of(translate_receiver(entry.receiver, graph.num_layers))
    assert found is not None
    return found


def _excess(entry: Entry, graph: Graph) -> int:
    """How far the number of a key or value exceeds those of its layer; negative if it does not."""
    layer, head = _head(entry, graph)
    return head - graph.layers[layer].num_kv_heads


def _place(entry: Entry, graph: Graph) -> tuple[int, int]:
    sender = graph.sender_index(translate_sender(entry.sender))
    receiver = graph.receiver_index(translate_receiver(entry.receiver, graph.num_layers))
    if not graph.valid[sender, receiver]:
        raise KCircuitsError(f"no edge {entry.sender} -> {entry.receiver}: the sender is computed after it")
    return sender, receiver
