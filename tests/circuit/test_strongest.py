"""The part of a big circuit that a picture shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.circuit.strongest import strength_steps, strongest_part
from kcircuits.graph import Graph
from kcircuits.graph.paths import prune_mask
from tests.circuits import all_graphs, circuit_of, circuit_of_mask, masks

TINY = Graph(num_layers=3, num_heads=2, num_kv_heads=1)


def names(edges):
    return {f"{edge.sender}->{edge.receiver}" for edge in edges}


@given(st.data())
def test_a_connected_circuit_stays_connected(data):
    graph = data.draw(all_graphs())
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    mask = random_connected_mask(graph, data.draw(st.integers(1, graph.num_edges)), rng)
    circuit = circuit_of_mask(graph, mask, rng)
    max_edges = data.draw(st.integers(1, graph.num_edges))
    part = circuit_of(graph, *strongest_part(circuit, max_edges))
    assert set(part.edges) <= set(circuit.edges)
    assert len(part.edges) <= max_edges
    assert part.prune().edges == part.edges
    if len(circuit.edges) <= max_edges:
        assert part.edges == circuit.edges


@given(st.data())
def test_any_circuit(data):
    graph = data.draw(all_graphs())
    circuit = circuit_of_mask(graph, data.draw(masks(graph)), np.random.default_rng(0))
    max_edges = data.draw(st.integers(1, graph.num_edges))
    part = strongest_part(circuit, max_edges)
    assert len(part) <= max_edges
    mask = circuit_of(graph, *part).mask()
    on_path = prune_mask(graph, circuit.mask())
    assert (prune_mask(graph, mask) == (mask & on_path)).all()
    if (mask & ~on_path).any():
        assert (mask & on_path).sum() == on_path.sum()


@pytest.mark.parametrize(
    ("max_edges", "part"),
    [
        (1, set()),  # the strongest edge needs three others
        (4, {"input->m0", "m0->a1.h0<v>", "a1.h0->m2", "m2->logits"}),
        (5, {"input->m0", "m0->a1.h0<v>", "a1.h0->m2", "m2->logits"}),  # the next one needs two
        (
            7,
            {"input->m0", "m0->a1.h0<v>", "a1.h0->m2", "m2->logits"}
            | {"a1.h0->m1", "m1->logits", "input->m2"},
        ),
    ],
)
def test_strong_edges_bring_their_strongest_connections(max_edges, part):
    circuit = circuit_of(
        TINY,
        "m0->a1.h0<v> -9",
        "input->m0 1",
        "a1.h0->m2 3",
        "a1.h0->m1 2",
        "m2->logits 0.5",
        "input->m2 0.4",
        "m1->logits 0.3",
        "input->m1 0.2",
        "a1.h1->logits 0.1",
        "input->logits 0.1",
    )
    assert names(strongest_part(circuit, max_edges)) == part


@given(st.data())
def test_every_prefix_of_the_steps_is_a_strongest_part(data):
    graph = data.draw(all_graphs())
    circuit = circuit_of_mask(graph, data.draw(masks(graph)), np.random.default_rng(0))
    steps = strength_steps(circuit)
    assert all(steps)
    assert sorted(map(str, (edge for step in steps for edge in step))) == sorted(map(str, circuit.edges))
    prefix = {edge for step in steps[: data.draw(st.integers(0, len(steps)))] for edge in step}
    assert set(strongest_part(circuit, len(prefix))) == prefix
