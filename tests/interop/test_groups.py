"""From one key and value per query head to one per group, and back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.graph import Graph
from kcircuits.interop.groups import merge_groups, spread_groups, ungroup
from tests.circuits import all_graphs, masks


@given(st.data())
def test_merging_is_a_sum_over_the_heads_that_a_receiver_shapes(data):
    graph = data.draw(all_graphs())
    wide = ungroup(graph)
    mask = data.draw(masks(wide))
    matrix = np.where(wide.valid, np.random.default_rng(0).normal(size=wide.valid.shape), 0)
    scores, present = merge_groups(graph, matrix, mask)
    for column, receiver in enumerate(graph.receivers):
        kind = receiver[receiver.find("<") :] if "<" in receiver else ""
        members = [wide.receiver_index(node + kind) for node in graph.nodes_of(receiver)]
        np.testing.assert_allclose(scores[:, column], matrix[:, members].sum(axis=1), atol=1e-12)
        assert (present[:, column] == mask[:, members].any(axis=1)).all()
    assert not scores[~graph.valid].any()


@given(st.data())
def test_spreading_is_undone_by_merging(data):
    graph = data.draw(all_graphs())
    mask = data.draw(masks(graph))
    matrix = np.random.default_rng(0).normal(size=graph.valid.shape)
    wide_scores, wide_mask = spread_groups(graph, matrix, mask)
    scores, present = merge_groups(graph, wide_scores, wide_mask)
    np.testing.assert_allclose(scores, matrix, atol=1e-12)
    assert (present == mask).all()


def test_spread_evenly():
    graph = Graph(1, 4, 2)
    matrix = np.zeros(graph.valid.shape)
    matrix[0, graph.receiver_index("a0.h1<v>")] = 6
    scores, _ = spread_groups(graph, matrix, matrix != 0)
    wide = ungroup(graph)
    assert [scores[0, wide.receiver_index(f"a0.h{head}<v>")] for head in range(4)] == [0, 0, 3, 3]


def test_a_graph_without_groups_stays_as_it_is():
    graph = Graph(2, 3, 3)
    assert ungroup(graph) == graph
    matrix = np.arange(graph.valid.size, dtype=float).reshape(graph.valid.shape)
    for change in (merge_groups, spread_groups):
        scores, mask = change(graph, matrix, graph.valid)
        assert (scores == matrix).all()
        assert (mask == graph.valid).all()
