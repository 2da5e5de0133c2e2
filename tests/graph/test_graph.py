"""Names, order and edges of the full graph."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given

from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph, LayerShape, Node, head_of, kind_of, layer_of
from kcircuits.graph.nodes import NODE_KINDS, RECEIVER_KINDS
from tests.circuits import all_graphs, graphs, uneven_graphs

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


@given(all_graphs())
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


@given(all_graphs())
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


# A layer without MLP, one with other heads, one that is an MLP alone.
UNEVEN = Graph.of_layers([LayerShape(2, 1, has_mlp=False), LayerShape(4, 2), LayerShape(0, 0)])


def test_layers_that_differ():
    assert UNEVEN.senders == (*("input", "a0.h0", "a0.h1", "a1.h0", "a1.h1", "a1.h2", "a1.h3", "m1", "m2"),)
    assert UNEVEN.receivers == (
        *("a0.h0<q>", "a0.h1<q>", "a0.h0<k>", "a0.h0<v>"),
        *("a1.h0<q>", "a1.h1<q>", "a1.h2<q>", "a1.h3<q>", "a1.h0<k>", "a1.h1<k>", "a1.h0<v>", "a1.h1<v>"),
        *("m1", "m2", "logits"),
    )
    assert UNEVEN.num_senders_of.tolist() == [1] * 4 + [3] * 8 + [7, 8, 9]
    assert UNEVEN.nodes_of("a1.h1<k>") == ("a1.h2", "a1.h3")
    assert UNEVEN.nodes_of("a0.h0<v>") == ("a0.h0", "a0.h1")
    assert [UNEVEN.senders_before(layer) for layer in range(3)] == [1, 3, 8]
    assert (UNEVEN.num_layers, UNEVEN.num_heads, UNEVEN.num_kv_heads) == (3, 4, 2)


@given(all_graphs())
def test_tables_are_the_names_as_numbers(graph):
    kinds = [NODE_KINDS[kind] for kind in graph.node_table[:, 0]]
    assert kinds == [kind_of(name) for name in graph.senders]
    assert [RECEIVER_KINDS[kind] for kind in graph.receiver_table[:, 0]] == [
        kind_of(name) for name in graph.receivers
    ]
    for table, names in ((graph.node_table, graph.senders), (graph.receiver_table, graph.receivers)):
        assert [None if layer < 0 else layer for layer in table[:, 1]] == [layer_of(name) for name in names]
        assert table[:, 2].tolist() == [head[1] if (head := head_of(name)) else 0 for name in names]
    assert graph.receiver_table[:, 3].tolist() == graph.valid.sum(axis=0).tolist()


@given(all_graphs())
def test_places_are_found_by_kind_layer_and_index(graph):
    assert [graph.index_of_node(node.kind, node.layer, node.index) for node in graph.nodes] == list(
        range(len(graph.nodes))
    )
    found = [graph.index_of_receiver(one.kind, one.layer, one.index) for one in graph.readers]
    assert found == list(range(len(graph.readers)))
    with pytest.raises(KCircuitsError, match="no sender 'm9'"):
        graph.index_of_node("mlp", 9)


@given(all_graphs())
def test_values_by_layer(graph):
    values = np.arange(1, 2 * len(graph.senders) + 1).reshape(2, -1)
    table = graph.by_layer(values)
    assert table.shape == (2, graph.num_layers, graph.num_heads + 1)
    for place, name in enumerate(graph.senders[1:], start=1):
        head = head_of(name)
        column = graph.num_heads if head is None else head[1]
        assert table[:, layer_of(name), column].tolist() == values[:, place].tolist()
    assert (table > 0).sum() == 2 * (len(graph.senders) - 1)


@given(graphs())
def test_a_graph_of_equal_layers_is_the_regular_one(graph):
    again = Graph.of_layers(
        [LayerShape(graph.num_heads, graph.num_kv_heads)] * graph.num_layers, graph.parallel
    )
    assert again == graph and hash(again) == hash(graph) and repr(again) == repr(graph)
    sizes = f"num_heads={graph.num_heads}, num_kv_heads={graph.num_kv_heads}, parallel={graph.parallel}"
    assert repr(graph) == f"Graph(num_layers={graph.num_layers}, {sizes})"


def test_text_of_layers_that_differ():
    assert str(UNEVEN).endswith("parallel=False, layers=[2/1 heads without MLP, 4/2 heads, 0/0 heads])")
    assert len(str(Graph.of_layers(UNEVEN.layers * 100))) < 250


@given(uneven_graphs())
def test_ungrouped_layers_keep_their_own_heads(graph):
    wide = graph.ungroup()
    assert wide.senders == graph.senders
    assert [shape.num_kv_heads for shape in wide.layers] == [shape.num_heads for shape in graph.layers]
    assert wide.ungroup() == wide
    assert not wide.shares_keys


@pytest.mark.parametrize("heads", [(3, 2), (2, 4), (0, 1), (2, 0), (-2, -1)])
def test_layers_that_make_no_sense(heads):
    with pytest.raises(KCircuitsError, match=r"num_heads must be a multiple of num_kv_heads, got .* heads"):
        LayerShape(*heads)


def test_shapes_of_another_graph():
    with pytest.raises(KCircuitsError, match="do not match the graph's sizes"):
        Graph(2, 4, 2, shapes=(LayerShape(4, 2),))


@pytest.mark.parametrize("name", ["b3", "a3", "a3.h", "a3.h1<x>", "m", "output", "a3.h1<q> ", "m-1"])
def test_what_is_no_name(name):
    for read in (kind_of, layer_of, head_of):
        with pytest.raises(KCircuitsError, match="no node or receiver of any model is called"):
            read(name)


def test_names_of_nodes():
    assert [node.name for node in (Node("input"), Node("head", 3, 11), Node("mlp", 3))] == [
        "input",
        "a3.h11",
        "m3",
    ]
