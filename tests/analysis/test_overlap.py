"""The set algebra of circuits, against Python's sets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.analysis.comparison.overlap import (
    edge_members,
    jaccard,
    layer_frequency,
    node_members,
    nodes_of_mask,
    reverse_overlap,
    score_entropy,
    shared_backbone,
)
from kcircuits.circuit import edge_jaccard, node_jaccard
from kcircuits.graph import Graph, layer_of
from tests.circuits import all_graphs, circuit_of, circuit_of_mask, masks

TINY = Graph(num_layers=2, num_heads=2, num_kv_heads=1)


@st.composite
def several(draw: st.DrawFn):
    graph = draw(all_graphs())
    rng = np.random.default_rng(0)
    drawn = [draw(masks(graph)) for _ in range(draw(st.integers(2, 4)))]
    return [circuit_of_mask(graph, mask, rng) for mask in drawn]


@given(several())
def test_nodes_are_those_of_the_circuits(circuits):
    graph = circuits[0].graph
    for circuit in circuits:
        touched = nodes_of_mask(graph, circuit.mask())
        assert tuple(np.array([*graph.senders, "logits"])[touched]) == circuit.nodes


@given(several())
def test_overlaps_are_those_of_sets(circuits):
    nodes, edges = node_members(circuits[0].graph, circuits), edge_members(circuits)
    for a, first in enumerate(circuits):
        for b, second in enumerate(circuits):
            assert jaccard(nodes)[a, b] == pytest.approx(node_jaccard(first, second))
            assert jaccard(edges)[a, b] == pytest.approx(edge_jaccard(first, second))
            common = set(first.nodes) & set(second.nodes)
            expected = len(common) / len(second.nodes) if second.nodes else 1
            assert reverse_overlap(nodes)[a, b] == pytest.approx(expected)


@given(several())
def test_overlaps_are_symmetric_and_one_on_the_diagonal(circuits):
    for members in (node_members(circuits[0].graph, circuits), edge_members(circuits)):
        matrix, reverse = jaccard(members), reverse_overlap(members)
        assert np.array_equal(matrix, matrix.T)
        assert (matrix.diagonal() == 1).all()
        assert (reverse.diagonal() == 1).all()
        assert (matrix <= np.minimum(reverse, reverse.T) + 1e-12).all()


@given(several())
def test_frequencies_count_circuits(circuits):
    graph = circuits[0].graph
    frequency = layer_frequency(graph, node_members(graph, circuits))
    for layer in range(graph.num_layers):
        of_layer = [[node for node in c.nodes if layer_of(node) == layer] for c in circuits]
        heads = [
            len([node for node in nodes if node.startswith("a")]) / max(1, graph.layers[layer].num_heads)
            for nodes in of_layer
        ]
        assert frequency[layer, 0] == pytest.approx(np.mean(heads))
        assert frequency[layer, 1] == pytest.approx(np.mean([f"m{layer}" in nodes for nodes in of_layer]))


@given(several(), st.floats(0.01, 1))
def test_the_backbone_is_what_enough_circuits_have(circuits, least):
    graph = circuits[0].graph
    backbone = shared_backbone(graph, node_members(graph, circuits), least)
    shares = {node: np.mean([node in circuit.nodes for circuit in circuits]) for node in graph.senders[1:]}
    assert dict(backbone) == {node: share for node, share in shares.items() if share >= least}
    assert [share for _, share in backbone] == sorted((share for _, share in backbone), reverse=True)


def test_entropy():
    even = circuit_of(TINY, "input->m0 2", "m0->logits -2", "input->logits 2", "input->m1 0")
    assert score_entropy(even) == pytest.approx(math.log(3))
    assert score_entropy(circuit_of(TINY, "input->m0 5")) == 0
    assert math.copysign(1, score_entropy(circuit_of(TINY, "input->m0 5"))) == 1
    assert score_entropy(circuit_of(TINY, "input->m0 0")) is None
    assert score_entropy(circuit_of(TINY)) is None


@given(st.lists(st.floats(-1e308, 1e308), min_size=1, max_size=8))
def test_entropy_is_at_most_that_of_equal_scores(scores):
    names = ["input->m0", "input->m1", "input->logits", "m0->m1", "m0->logits", "m1->logits", "a0.h0->m0",
             "a0.h1->m0"]  # fmt: skip
    circuit = circuit_of(TINY, *(f"{name} {score!r}" for name, score in zip(names, scores, strict=False)))
    entropy = score_entropy(circuit)
    assert (entropy is None) == (not any(scores))
    if entropy is not None:
        assert 0 <= entropy <= math.log(len(scores)) + 1e-9
