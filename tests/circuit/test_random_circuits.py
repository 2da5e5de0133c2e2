"""Random circuits: of exactly the size asked for, connected, repeatable, and close to uniform."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.graph.paths import prune_mask
from tests.circuits import all_graphs


def check(graph: Graph, mask: np.ndarray, num_edges: int) -> None:
    assert mask.dtype == bool
    assert mask.sum() == num_edges
    assert not (mask & ~graph.valid).any()
    assert (prune_mask(graph, mask) == mask).all()


@given(st.data())
def test_size_and_connection(data):
    graph = data.draw(all_graphs())
    num_edges = data.draw(st.integers(1, graph.num_edges))
    seed = data.draw(st.integers(0, 2**32 - 1))
    mask = random_connected_mask(graph, num_edges, np.random.default_rng(seed))
    check(graph, mask, num_edges)
    again = random_connected_mask(graph, num_edges, np.random.default_rng(seed))
    assert (mask == again).all()


@pytest.mark.parametrize(
    "graph",
    [Graph(1, 1, 1), Graph(1, 1, 1, parallel=True), Graph(1, 4, 1), Graph(2, 4, 2), Graph(3, 2, 2, True)],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_every_size(graph, seed):
    rng = np.random.default_rng(seed)
    for num_edges in range(1, graph.num_edges + 1):
        check(graph, random_connected_mask(graph, num_edges, rng), num_edges)


@pytest.mark.parametrize("num_edges", [1, 2, 3, 20, 374, 7034, 70_650, 70_651])
def test_the_graph_of_a_real_model(num_edges):
    graph = Graph(30, 9, 3)
    check(graph, random_connected_mask(graph, num_edges, np.random.default_rng(0)), num_edges)


@pytest.mark.parametrize("num_edges", [0, -1, 12])
def test_impossible_sizes(num_edges):
    with pytest.raises(KCircuitsError, match=f"of this graph has 1 to 11 edges, got {num_edges}"):
        random_connected_mask(Graph(1, 2, 1), num_edges, np.random.default_rng(0))


@pytest.mark.parametrize("num_edges", range(2, 11))
def test_close_to_uniform_where_all_circuits_can_be_listed(num_edges):
    graph = Graph(1, 2, 1)
    places = np.argwhere(graph.valid)
    everything = []
    for present in product([False, True], repeat=graph.num_edges):
        mask = np.zeros_like(graph.valid)
        mask[tuple(places.T)] = present
        if sum(present) == num_edges and (prune_mask(graph, mask) == mask).all():
            everything.append(present)
    rng = np.random.default_rng(0)
    drawn = [random_connected_mask(graph, num_edges, rng)[tuple(places.T)] for _ in range(500)]
    # Every circuit can come up, and no edge comes up much more or less often than if all were as likely.
    assert len({tuple(mask.tolist()) for mask in drawn}) > 0.8 * len(everything)
    assert np.abs(np.mean(drawn, axis=0) - np.mean(everything, axis=0)).max() < 0.2
