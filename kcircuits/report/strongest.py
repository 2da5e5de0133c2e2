"""The strongest part of a big circuit: as many edges as a picture can hold."""

from __future__ import annotations

from kcircuits.circuit import Circuit, Edge


def strongest_part(circuit: Circuit, max_edges: int) -> tuple[Edge, ...]:
    """Choose the strongest edges by |score|, and the edges that make each of them part of the flow.

    Edges are taken by falling |score|. One that does not touch the part chosen so far brings its
    connections to it, or to `input` and `logits`: node by node, the circuit's strongest edge. The choice
    ends before the first edge that would make it larger than `max_edges`. Edges that lie on no path from
    `input` to `logits` come after all others.

    Returns
    -------
    tuple of Edge
        At most `max_edges` edges, in the order of the circuit; all of them if the circuit is no bigger.
        Edges that lie on a path from `input` to `logits` in the circuit do so here.
    """
    if len(circuit.edges) <= max_edges:
        return circuit.edges
    on_path = set(circuit.pruned().edges)
    order = sorted(circuit.edges, key=lambda edge: (edge not in on_path, -abs(edge.score)))
    part = _Part(circuit, order)
    for edge in order:
        needed = {edge, *part.path_to(edge.sender), *part.path_from(edge.receiver)} - part.edges
        if len(part.edges) + len(needed) > max_edges:
            break
        part.add(needed)
    return tuple(edge for edge in circuit.edges if edge in part.edges)


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
        """Edges that lead from the part to a node; to its first ancestor, if that is a dead end."""
        path: list[Edge] = []
        while node not in self.reached and node in self.first_into:
            path.append(self.first_into[node])
            node = path[-1].sender
        return path

    def path_from(self, receiver: str) -> list[Edge]:
        """Edges that lead from a receiver to the part; to its last descendant, if that is a dead end."""
        path: list[Edge] = []
        while not self.leading_on.intersection(nodes := self.circuit.endpoints(receiver)):
            onward = [self.first_from[node] for node in nodes if node in self.first_from]
            if not onward:
                break
            path.append(min(onward, key=self.place.__getitem__))
            receiver = path[-1].receiver
        return path

    def add(self, edges: set[Edge]) -> None:
        self.edges |= edges
        for edge in edges:
            self.leading_on.add(edge.sender)
            self.reached.update(self.circuit.endpoints(edge.receiver))
