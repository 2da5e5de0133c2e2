"""Names, order and edges of the full graph."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given

from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from tests.circuits import graphs

# The order of computation within a layer; `input` comes before all, `logits` after all.
HEAD, MLP = 0, 1


def place(name: str, graph: Graph, receiving: bool) -> tuple[int, int]:
    """(layer, step): a receiver reads the outputs of all senders with a smaller place."""
    if name == "input":
        return -1, 0
    if name == "logits":
        return graph.num_layers, 0
    layer = int(re.match(r"[am](\d+)", name)[1])
    reads_with_heads = receiving and graph.parallel
    return layer, HEAD if name.startswith("a") or reads_with_heads else MLP


@given(graphs())
def test_an_edge_for_every_sender_computed_before_the_receiver(graph):
    expected = [
        [place(sender, graph, False) < place(receiver, graph, True) for receiver in graph.receivers]
        for sender in graph.senders
    ]
    assert graph.valid.tolist() == expected
    assert graph.num_edges == np.sum(expected)
    assert graph.num_senders_of.tolist() == np.sum(expected, axis=0).tolist()


@given(graphs())
def test_names_and_indices(graph):
    heads, groups, layers = graph.num_heads, graph.num_kv_heads, graph.num_layers
    assert len(set(graph.senders)) == len(graph.senders) == 1 + layers * (heads + 1)
    assert len(set(graph.receivers)) == len(graph.receivers) == layers * (heads + 2 * groups + 1) + 1
    assert [graph.sender_index(name) for name in graph.senders] == list(range(len(graph.senders)))
    assert [graph.receiver_index(name) for name in graph.receivers] == list(range(len(graph.receivers)))


@given(graphs())
def test_receivers_shape_heads_of_their_own_group(graph):
    queries = {name: graph.nodes_of(name) for name in graph.receivers if name.endswith("<q>")}
    assert all(nodes == (name[:-3],) for name, nodes in queries.items())
    for kind in ("<k>", "<v>"):
        shaped = [node for name in graph.receivers if name.endswith(kind) for node in graph.nodes_of(name)]
        assert shaped == [name for name in graph.senders if name.startswith("a")]


@pytest.mark.parametrize(
    ("receiver", "nodes"),
    [
        ("a1.h3<q>", ("a1.h3",)),
        ("a1.h1<k>", ("a1.h2", "a1.h3")),
        ("a0.h0<v>", ("a0.h0", "a0.h1")),
        ("m1", ("m1",)),
        ("logits", ("logits",)),
    ],
)
def test_nodes_of(receiver, nodes):
    assert Graph(2, 4, 2).nodes_of(receiver) == nodes


@pytest.mark.parametrize(
    ("sizes", "num_senders", "num_edges"),
    [((30, 9, 3), 301, 70_651), ((12, 12, 12), 157, 32_491)],
    ids=["SmolLM2-135M", "GPT-2 small"],
)
def test_known_models(sizes, num_senders, num_edges):
    graph = Graph(*sizes)
    assert (len(graph.senders), graph.num_edges) == (num_senders, num_edges)


def test_unknown_names():
    graph = Graph(1, 2, 1)
    with pytest.raises(KCircuitsError, match="no sender 'logits'"):
        graph.sender_index("logits")
    with pytest.raises(KCircuitsError, match=r"no receiver 'a0\.h1<k>'"):
        graph.receiver_index("a0.h1<k>")
