"""GraphML that networkx reads back."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import networkx as nx
import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.interop.graphml import write_graphml
from tests.circuits import circuit_of, identity_for

TINY = Graph(num_layers=2, num_heads=4, num_kv_heads=2)
EDGES = ("input->a0.h1<k> 0.5", "input->a0.h3<q> -1", "input->a0.h1<v> 2", "a0.h3->logits", "a0.h2->m1 0")


def test_networkx_reads_the_same_graph(tmp_path):
    circuit = circuit_of(TINY, *EDGES)
    write_graphml(circuit, tmp_path / "circuit.graphml")
    read, expected = (
        nx.read_graphml(tmp_path / "circuit.graphml", force_multigraph=True),
        circuit.to_networkx(),
    )
    assert isinstance(read, nx.MultiDiGraph)
    assert list(read.nodes) == list(expected.nodes)
    flat = [
        sorted((u, v, *data.values()) for u, v, data in graph.edges(data=True)) for graph in (read, expected)
    ]
    assert flat[0] == flat[1]
    assert read.graph["method"] == "acdc"
    assert json.loads(read.graph["model"]) == circuit.model
    assert json.loads(read.graph["settings"]) == circuit.settings


def test_edge_ids_are_unique(tmp_path):
    write_graphml(circuit_of(TINY, *EDGES), tmp_path / "circuit.graphml")
    edges = ElementTree.parse(tmp_path / "circuit.graphml").iter(
        "{http://graphml.graphdrawing.org/xmlns}edge"
    )
    ids = [edge.get("id") for edge in edges]
    assert len(ids) == len(set(ids)) == 7


def test_names_that_xml_cannot_hold(tmp_path):
    odd = "\0<&>\ud800\x1b"
    circuit = circuit_of(TINY, "input->m0", method=odd, model=identity_for(TINY, odd))
    write_graphml(circuit, tmp_path / "circuit.graphml")
    read = nx.read_graphml(tmp_path / "circuit.graphml")
    assert json.loads(read.graph["model"])["name"] == odd
    assert read.graph["method"] == " <&>  "


def test_settings_that_are_not_json(tmp_path):
    with pytest.raises(KCircuitsError, match="'settings' cannot be written as JSON"):
        write_graphml(circuit_of(TINY, settings={"a": tmp_path}), tmp_path / "circuit.graphml")
    assert list(tmp_path.iterdir()) == []
