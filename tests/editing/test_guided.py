"""Where a circuit says that its fact should be edited."""

from __future__ import annotations

import pytest

from kcircuits.editing.guided import RULES, circuit_layer, strongest_nodes
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from tests.circuits import circuit_of

GRAPH = Graph(num_layers=4, num_heads=2, num_kv_heads=1)
CIRCUIT = circuit_of(
    GRAPH,
    "input->m0 9",
    "m0->m1 1",
    "m0->logits -1.5",
    "m1->a2.h0<v> -1",
    "m1->a3.h1<q> 0.5",
    "m2->logits 3",
    "m2->a3.h0<v> 0.75",
    "a3.h0->logits 8",
)


@pytest.mark.parametrize(("rule", "layer"), [("writes", 2), ("moved", 1), ("first", 0)])
def test_rules(rule, layer):
    assert circuit_layer(CIRCUIT, rule) == layer


def test_equal_weights_give_the_earlier_layer():
    circuit = circuit_of(GRAPH, "m2->logits 1", "m1->logits -1")
    assert {circuit_layer(circuit, rule) for rule in ("writes", "first")} == {1}


def test_strongest_nodes_are_mlps_and_heads_in_order():
    assert strongest_nodes(CIRCUIT, 3) == ("a3.h0", "m2", "m0")
    assert strongest_nodes(CIRCUIT, 10) == ("a3.h0", "m2", "m0", "m1")


@pytest.mark.parametrize("rule", RULES)
def test_a_circuit_without_mlps(rule):
    circuit = circuit_of(GRAPH, "input->a1.h0<v>", "a1.h0->logits")
    with pytest.raises(KCircuitsError, match="no MLP"):
        circuit_layer(circuit, rule)


def test_bad_input():
    with pytest.raises(KCircuitsError, match="writes, moved, first"):
        circuit_layer(CIRCUIT, "best")
    with pytest.raises(KCircuitsError, match="at least one"):
        strongest_nodes(CIRCUIT, 0)
    with pytest.raises(KCircuitsError, match="neither MLPs nor heads"):
        strongest_nodes(circuit_of(GRAPH, "input->logits"), 1)
