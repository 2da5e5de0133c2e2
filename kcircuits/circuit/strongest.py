"""The strongest part of a big circuit: as many edges as a picture can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kcircuits.circuit import Circuit, Edge


def strongest_part(circuit: Circuit, max_edges: int) -> tuple[Edge, ...]:
    """The strongest edges of a circuit, and what makes each of them part of the flow.

    Returns
    -------
    tuple of Edge
        As many of the first `strength_steps` as have `max_edges` edges or fewer, in the order of the circuit.
        Edges that lie on a path from `input` to `logits` in the circuit do so here.
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
    """All edges of a circuit in the order in which a growing picture takes them.

    Edges come by falling |score|. One that does not touch the part so far brings its connections to it, or to
    `input` and `logits`, along in one step: node by node, the circuit's strongest edge. Edges that lie on no
    path from `input` to `logits` come after all others.

    Returns
    -------
    tuple of steps
        Each step has at least one edge; every edge is in one step.
    """
    return tuple(_steps(circuit))


def _steps(circuit: Circuit) -> Iterator[tuple[Edge, ...]]:
    """One after the other, as a picture needs only the first of a large circuit."""
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

    def add(self, edges: Iterable[Edge]) -> None:
        self.edges.update(edges)
        for edge in edges:
            self.leading_on.add(edge.sender)
            self.reached.update(self.circuit.endpoints(edge.receiver))
