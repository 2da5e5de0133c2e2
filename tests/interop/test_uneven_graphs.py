"""Graphs whose layers differ, in the formats of other tools: kept, or refused in one line."""

from __future__ import annotations

import csv

import networkx as nx
import numpy as np
import pytest

from kcircuits.circuit import Circuit
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph, LayerShape
from kcircuits.interop.eap_ig import read_eap_ig, write_eap_ig
from kcircuits.interop.edge_lists import read_edge_list
from kcircuits.interop.graphml import write_graphml
from kcircuits.interop.table import write_csv
from tests.circuits import UNEVEN, circuit_of, circuit_of_mask, identity_for

WIDTH = {"width": 16}


@pytest.fixture
def circuit() -> Circuit:
    mask = UNEVEN.valid & (np.random.default_rng(0).random(UNEVEN.valid.shape) < 0.5)
    return circuit_of_mask(UNEVEN, mask, np.random.default_rng(1), model=identity_for(UNEVEN) | WIDTH)


def test_circuit_json(circuit, tmp_path):
    circuit.save(tmp_path / "circuit.json")
    again = Circuit.load(tmp_path / "circuit.json")
    assert again == circuit
    assert again.graph == UNEVEN


def test_graphml(circuit, tmp_path):
    write_graphml(circuit, tmp_path / "circuit.graphml")
    read = nx.read_graphml(tmp_path / "circuit.graphml")
    receivers = {(sender, data["receiver"]) for sender, _, data in read.edges(data=True)}
    assert receivers == {(edge.sender, edge.receiver) for edge in circuit.edges}
    assert tuple(read.nodes) == circuit.nodes


def test_csv_and_back_from_a_list(circuit, tmp_path):
    write_csv(circuit, tmp_path / "circuit.csv")
    rows = list(csv.DictReader((tmp_path / "circuit.csv").open()))
    assert len(rows) == len(circuit.edges)
    again = read_edge_list(tmp_path / "circuit.csv", circuit.model)
    assert [(edge.sender, edge.receiver) for edge in again.edges] == [
        (edge.sender, edge.receiver) for edge in circuit.edges
    ]


def test_edge_list_with_one_key_per_query_head(tmp_path):
    (tmp_path / "edges").write_text("input->A1.3.K 0.5\nA0.1->A2.1.V 2\nMLP 1->A2.0.Q 1\n")
    found = read_edge_list(tmp_path / "edges", identity_for(UNEVEN))
    expected = circuit_of(UNEVEN, "input->a1.h1<k> 0.5", "a0.h1->a2.h1<v> 2", "m1->a2.h0<q> 1")
    assert found.edges == expected.edges


@pytest.mark.parametrize(
    ("line", "message"),
    [("input -> m0", "no receiver 'm0'"), ("input -> a0.h2<q>", "no receiver 'a0.h2<q>'")],
)
def test_edges_that_another_layer_would_have(line, message, tmp_path):
    (tmp_path / "edges").write_text(line)
    with pytest.raises(KCircuitsError, match=message):
        read_edge_list(tmp_path / "edges", identity_for(UNEVEN))


@pytest.mark.parametrize(
    ("receiver", "fits"), [("a1.h1<k>", True), ("a1.h2<k>", False), ("a2.h1<k>", True), ("a0.h1<k>", False)]
)
def test_shared_keys_are_counted_in_their_own_layer(receiver, fits, tmp_path):
    (tmp_path / "edges").write_text(f"input -> {receiver}")
    if fits:
        found = read_edge_list(tmp_path / "edges", identity_for(UNEVEN), key_heads="shared")
        assert [edge.receiver for edge in found.edges] == [receiver]
    else:
        with pytest.raises(KCircuitsError, match=r"because the model has . key/value heads"):
            read_edge_list(tmp_path / "edges", identity_for(UNEVEN), key_heads="shared")


def test_eap_ig_cannot_express_them(circuit, tmp_path):
    message = "has 4 heads and an MLP in every layer, but layer 0 of the model has 2 heads and no MLP"
    with pytest.raises(KCircuitsError, match=message):
        write_eap_ig(circuit, tmp_path / "graph.json")
    assert not list(tmp_path.iterdir())
    (tmp_path / "graph.json").write_text("{}")
    with pytest.raises(KCircuitsError, match=message):
        read_eap_ig(tmp_path / "graph.json", circuit.model)


def test_eap_ig_has_no_groups_so_these_may_differ(tmp_path):
    graph = Graph.of_layers([LayerShape(4, 2), LayerShape(4, 4)])
    circuit = circuit_of(graph, "input->a0.h1<k> 6", "a1.h2->logits 1", model=identity_for(graph) | WIDTH)
    write_eap_ig(circuit, tmp_path / "graph.json")
    again, _ = read_eap_ig(tmp_path / "graph.json", circuit.model)
    assert again.edges == circuit.edges
