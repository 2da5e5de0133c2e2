"""Choice of the layer or nodes to edit from the fact's own circuit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kcircuits.circuit import Circuit, Edge
from kcircuits.errors import KCircuitsError
from kcircuits.graph import kind_of, layer_of

STRONG = 0.5
"""A node is strong if it has at least this share of the strongest node's weight."""


def circuit_layer(circuit: Circuit, rule: str) -> int:
    """The layer whose MLP an edit should change.

    Parameters
    ----------
    circuit
        The circuit of the fact in the original model.
    rule
        One of `RULES`. The weight of an edge is |score|:

        * "writes": the MLP with the largest weight of outgoing edges;
        * "moved": the MLP with the largest weight of edges into values of heads, which move it to the end;
        * "first": the first MLP with at least half the weight of the one chosen by "writes".

    Raises
    ------
    KCircuitsError
        If the rule does not exist, or the circuit has no MLP to choose.
    """
    if rule not in RULES:
        raise KCircuitsError(f"there is no rule {rule!r}: choose from {', '.join(RULES)}")
    return RULES[rule](circuit)


def strongest_nodes(circuit: Circuit, count: int) -> tuple[str, ...]:
    """At most `count` MLPs and heads with the largest weight of outgoing edges, strongest first.

    Raises KCircuitsError if the circuit has none, or the count is below 1.
    """
    if count < 1:
        raise KCircuitsError(f"there must be at least one node, got {count}")
    weights = _weights(circuit, lambda edge: edge.sender != "input")
    if not weights:
        raise KCircuitsError("the circuit has neither MLPs nor heads")
    order = {name: place for place, name in enumerate(circuit.graph.senders)}
    return tuple(sorted(weights, key=lambda node: (-weights[node], order[node]))[:count])


def _writes(circuit: Circuit) -> int:
    return _heaviest(_mlp_weights(circuit, lambda edge: True))


def _moves(circuit: Circuit) -> int:
    return _heaviest(_mlp_weights(circuit, lambda edge: kind_of(edge.receiver) == "v"))


def _first(circuit: Circuit) -> int:
    weights = _mlp_weights(circuit, lambda edge: True)
    enough = STRONG * weights[_heaviest(weights)]
    return min(layer for layer, weight in weights.items() if weight >= enough)


RULES: Mapping[str, Callable[[Circuit], int]] = {"writes": _writes, "moved": _moves, "first": _first}


def _mlp_weights(circuit: Circuit, counts: Callable[[Edge], bool]) -> dict[int, float]:
    """Weights of MLPs by layer."""
    weights = _weights(circuit, lambda edge: kind_of(edge.sender) == "mlp" and counts(edge))
    return {layer: weight for node, weight in weights.items() if (layer := layer_of(node)) is not None}


def _weights(circuit: Circuit, counts: Callable[[Edge], bool]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for edge in circuit.edges:
        if counts(edge):
            weights[edge.sender] = weights.get(edge.sender, 0.0) + abs(edge.score)
    return weights


def _heaviest(weights: dict[int, float]) -> int:
    """The layer of the largest weight, the first if there are several."""
    if not weights:
        raise KCircuitsError("the circuit has no MLP that this rule can choose")
    return min(weights, key=lambda layer: (-weights[layer], layer))
