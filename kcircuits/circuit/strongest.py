"""Select the strongest part of a large circuit for a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kcircuits.circuit import Circuit, Edge


def strongest_part(circuit: Circuit, max_edges: int) -> tuple[Edge, ...]:
    """The strongest edges of a circuit, with the edges that connect them.

    Returns
    -------
    tuple of Edge
        The first `strength_steps` that together have at most `max_edges` edges, in the order of the circuit.
        Edges on a path from `input` to `logits` in the circuit are on such a path here too.
    """
    if len(circuit.edges) <= max_edges:
        return circuit.edges
    part: set[Edge] = set()
    for step in _steps(circuit):
        if len(part) + len(step) > max_edges:
            break
        part.update(step)
    return tuple(edge for edge in circuit.edges if edge in part)


def strength_steps(circuit: Circuit) -> tuple[tuple[Edge, ...], ...]:
    """All edges of a circuit in the order in which a growing picture adds them.

    Edges are sorted by decreasing |score|. If an edge does not touch the present part, the same step adds
    edges that connect it to that part or to `input` and `logits`: node by node, the strongest one. Edges that
    lie on no path from `input` to `logits` come last.

    Returns
    -------
    tuple of steps
        Each step has at least one edge; every edge is in one step.
    """
    return tuple(_steps(circuit))


def _steps(circuit: Circuit) -> Iterator[tuple[Edge, ...]]:
    """Yield the steps one by one, because a picture of a large circuit needs only the first ones."""
    on_path = set(circuit.prune().edges)
    order = sorted(circuit.edges, key=lambda edge: (edge not in on_path, -abs(edge.score)))
    part = _Part(circuit, order)
    for edge in order:
        connected = {edge: None, **dict.fromkeys(part.path_to(edge.sender))}
        connected |= dict.fromkeys(part.path_from(edge.receiver))
        step = tuple(each for each in connected if each not in part.edges)
        if step:
            part.add(step)
            yield step


class _Part:
    """The edges chosen so far, and the nodes where a path to or from them may end."""

    def __init__(self, circuit: Circuit, order: list[Edge]) -> None:
        self.circuit = circuit
        self.edges: set[Edge] = set()
        self.reached, self.leading_on = {"input"}, {"logits"}
        self.place = {edge: place for place, edge in enumerate(order)}
        self.first_into: dict[str, Edge] = {}
        self.first_from: dict[str, Edge] = {}
        for edge in order:
            self.first_from.setdefault(edge.sender, edge)
            for node in circuit.endpoints(edge.receiver):
                self.first_into.setdefault(node, edge)

    def path_to(self, node: str) -> list[Edge]:
        """Edges from the part to a node, or from its first ancestor if no path leads there."""
        path: list[Edge] = []
        while node not in self.reached and node in self.first_into:
            path.append(self.first_into[node])
            node = path[-1].sender
        return path

    def path_from(self, receiver: str) -> list[Edge]:
        """Edges from a receiver to the part, or to its last descendant if no path leads there."""
        path: list[Edge] = []
        while not self.leading_on.intersection(nodes := self.circuit.endpoints(receiver)):
            onward = [self.first_from[node] for node in nodes if node in self.first_from]
            if not onward:
                break
            path.append(min(onward, key=self.place.__getitem__))
            receiver = path[-1].receiver
        return path

    def add(self, edges: Iterable[Edge]) -> None:
        self.edges.update(edges)
        for edge in edges:
            self.leading_on.add(edge.sender)
            self.reached.update(self.circuit.endpoints(edge.receiver))
