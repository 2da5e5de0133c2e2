"""The circuit as the page's picture needs it: nodes with places, edges in the order of their strength."""

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
"""More edges than this are not in the picture: nobody could tell them apart."""
_MOST_STOPS = 160


def graph_data(circuit: Circuit, other: Circuit | None, roles: Mapping[str, str]) -> dict[str, Any]:
    """What the picture draws, as JSON values.

    Parameters
    ----------
    circuit
        The circuit.
    other
        What it is compared with; of the same graph. Edges that only this one has are "lost".
    roles
        Of heads, as roles.json has them.

    Returns
    -------
    dict
        "num_layers", "num_heads"; where layers differ, "layers": how many heads each has, and whether it has
        an MLP; "nodes": name, kind ("head", "mlp" or "end"), layer, head and role of each;
        "edges": columns of equal length, of which "size" is how many edges the smallest strongest part has
        that the edge is in; "stops": the sizes of strongest parts that a slider offers, rising; "start": the
        one to begin with.
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
    """Some of the sizes, rising: all while they are few, then ever fewer, and always the last; 0 for none.

    Examples
    --------
    >>> slider_stops([1, 4, 4, 4, 5])
    [1, 4, 5]
    """
    distinct = sorted(set(sizes)) or [0]
    kept: list[int] = []
    # A step of the slider is at least this factor, so that it has about as many steps as pixels.
    factor = distinct[-1] ** (1 / _MOST_STOPS)
    for size in distinct:
        if not kept or size >= kept[-1] * factor or size == distinct[-1]:
            kept.append(size)
    return kept


_COLUMNS = ("sender", "targets", "receiver", "kind", "score", "size", "change")


def _sizes(circuit: Circuit) -> list[tuple[Edge, int]]:
    """The edges by strength, each with the size of the smallest strongest part that has it."""
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
