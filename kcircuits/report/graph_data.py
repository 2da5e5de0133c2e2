"""The data of the page's picture: nodes with their layer and head, and edges sorted by strength."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from kcircuits.circuit import Circuit, Edge
from kcircuits.circuit.drawing import MAX_EDGES
from kcircuits.circuit.strongest import strength_steps
from kcircuits.graph import head_of, kind_of, layer_of

KINDS = ("q", "k", "v", "mlp", "logits")
CHANGES = ("kept", "added", "lost")
MOST_EDGES = 20_000
"""The most edges in the picture: more could not be distinguished."""
_MOST_STOPS = 160


def graph_data(circuit: Circuit, other: Circuit | None, roles: Mapping[str, str]) -> dict[str, Any]:
    """What the picture draws, as JSON values.

    Parameters
    ----------
    circuit
        The circuit.
    other
        Another circuit of the same graph to compare with. Edges that only this one has are "lost".
    roles
        Roles by head, as in roles.json.

    Returns
    -------
    dict
        "num_layers", "num_heads"; if layers differ, "layers": number of heads of each layer and whether it
        has an MLP; "nodes": name, kind ("head", "mlp" or "end"), layer, head and role of each node;
        "edges": columns of equal length, where "size" is the number of edges of the smallest circuit of
        strongest edges that has the edge; "stops": sizes that the slider offers, in rising order; "start":
        the initial size.
    """
    ours = _sizes(circuit)
    names = None if other is None else {(edge.sender, edge.receiver) for edge in other.edges}
    rows = [_row(circuit, edge, size, _change(edge, names)) for edge, size in ours]
    if other is not None:
        rows += [_row(other, edge, size, "lost") for edge, size in _lost_edges(other, circuit).items()]
    touched = {name for row in rows for name in (row["sender"], *row["targets"])}
    nodes = [name for name in (*circuit.graph.senders, "logits") if name in touched]
    place = {name: index for index, name in enumerate(nodes)}
    for row in rows:
        row["sender"] = place[row["sender"]]
        row["targets"] = [place[name] for name in row["targets"]]
    stops = slider_stops([size for _, size in ours])
    graph = circuit.graph
    uneven = {} if graph.is_regular else {"layers": [[one.num_heads, one.has_mlp] for one in graph.layers]}
    return {
        "num_layers": graph.num_layers,
        "num_heads": graph.num_heads,
        **uneven,
        "nodes": [_node(name, roles.get(name)) for name in nodes],
        "edges": {key: [row[key] for row in rows] for key in _COLUMNS},
        "stops": stops,
        "start": max((stop for stop in stops if stop <= MAX_EDGES), default=stops[0]),
    }


def slider_stops(sizes: Iterable[int]) -> list[int]:
    """Some of the sizes in rising order: all small ones, fewer large ones, and the last; 0 if there are none.

    Examples
    --------
    >>> slider_stops([1, 4, 4, 4, 5])
    [1, 4, 5]
    """
    distinct = sorted(set(sizes)) or [0]
    kept: list[int] = []
    # Each step is at least this factor, so that the slider has about as many steps as pixels.
    factor = distinct[-1] ** (1 / _MOST_STOPS)
    for size in distinct:
        if not kept or size >= kept[-1] * factor or size == distinct[-1]:
            kept.append(size)
    return kept


_COLUMNS = ("sender", "targets", "receiver", "kind", "score", "size", "change")


def _sizes(circuit: Circuit) -> list[tuple[Edge, int]]:
    """The edges by strength, each with the size of the smallest circuit of strongest edges that has it."""
    steps = strength_steps(circuit)
    ends = accumulate(map(len, steps))
    return [(edge, end) for step, end in zip(steps, ends, strict=True) if end <= MOST_EDGES for edge in step]


def _lost_edges(other: Circuit, circuit: Circuit) -> dict[Edge, int]:
    lost = set(other.difference(circuit).edges)
    return {edge: size for edge, size in _sizes(other) if edge in lost}


def _change(edge: Edge, others: set[tuple[str, str]] | None) -> str:
    return "kept" if others is None or (edge.sender, edge.receiver) in others else "added"


def _row(circuit: Circuit, edge: Edge, size: int, change: str) -> dict[str, Any]:
    return {
        "sender": edge.sender,
        "targets": list(circuit.endpoints(edge.receiver)),
        "receiver": edge.receiver,
        "kind": KINDS.index(kind_of(edge.receiver)),
        "score": edge.score,
        "size": size,
        "change": CHANGES.index(change),
    }


def _node(name: str, role: str | None) -> dict[str, Any]:
    layer, head = layer_of(name), head_of(name)
    kind = "end" if layer is None else kind_of(name)
    return {"name": name, "kind": kind, "layer": layer, "head": head and head[1], "role": role}
