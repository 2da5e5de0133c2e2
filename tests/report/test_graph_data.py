"""What the page's picture is drawn from: every edge once, its size, its change, the slider's stops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.circuit.drawing import MAX_EDGES
from kcircuits.circuit.strongest import strongest_part
from kcircuits.graph import Graph
from kcircuits.report import graph_data as module
from kcircuits.report.graph_data import CHANGES, KINDS, graph_data, slider_stops
from tests.circuits import UNEVEN, all_graphs, circuit_of, circuit_of_mask, masks

TINY = Graph(num_layers=2, num_heads=4, num_kv_heads=2)


def rows(data):
    """The edges of the data as dictionaries with names."""
    names = [node["name"] for node in data["nodes"]]
    columns = data["edges"]
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        yield row | {
            "sender": names[row["sender"]],
            "targets": [names[target] for target in row["targets"]],
            "kind": KINDS[row["kind"]],
            "change": CHANGES[row["change"]],
        }


@given(st.data())
def test_sizes_are_those_of_strongest_parts(data):
    graph = data.draw(all_graphs())
    circuit = circuit_of_mask(graph, data.draw(masks(graph)), np.random.default_rng(1))
    made = list(rows(graph_data(circuit, None, {})))
    assert {(row["sender"], row["receiver"], row["score"]) for row in made} == {
        (edge.sender, edge.receiver, edge.score) for edge in circuit.edges
    }
    assert all(tuple(row["targets"]) == circuit.endpoints(row["receiver"]) for row in made)
    stop = data.draw(st.sampled_from([0, *(row["size"] for row in made)]))
    part = {(edge.sender, edge.receiver) for edge in strongest_part(circuit, stop)}
    assert {(row["sender"], row["receiver"]) for row in made if row["size"] <= stop} == part


@given(st.data())
def test_changes_are_those_of_the_circuits(data):
    graph = data.draw(all_graphs())
    ours, theirs = (
        circuit_of_mask(graph, data.draw(masks(graph)), np.random.default_rng(seed)) for seed in (0, 1)
    )
    found = {change: set() for change in CHANGES}
    for row in rows(graph_data(ours, theirs, {})):
        found[row["change"]].add((row["sender"], row["receiver"]))
    expected = {
        "kept": ours.intersection(theirs),
        "added": ours.difference(theirs),
        "lost": theirs.difference(ours),
    }
    for change, circuit in expected.items():
        assert found[change] == {(edge.sender, edge.receiver) for edge in circuit.edges}


def test_nodes():
    circuit = circuit_of(TINY, "input->m0 2", "m0->a1.h1<q> -0.5", "a1.h1->logits 3")
    nodes = graph_data(circuit, None, {"a1.h1": "mover"})["nodes"]
    assert nodes == [
        {"name": "input", "kind": "end", "layer": None, "head": None, "role": None},
        {"name": "m0", "kind": "mlp", "layer": 0, "head": None, "role": None},
        {"name": "a1.h1", "kind": "head", "layer": 1, "head": 1, "role": "mover"},
        {"name": "logits", "kind": "end", "layer": None, "head": None, "role": None},
    ]


@given(st.lists(st.integers(1, 10**6)))
def test_stops(sizes):
    stops = slider_stops(sizes)
    assert stops == sorted(set(stops))
    assert set(stops) <= set(sizes or [0])
    assert stops[-1] == max(sizes, default=0)
    assert len(stops) < 400


def test_the_slider_starts_where_the_printed_picture_ends():
    graph = Graph(12, 6, 3)
    circuit = circuit_of_mask(graph, graph.valid, np.random.default_rng(0))
    data = graph_data(circuit, None, {})
    assert data["start"] in data["stops"]
    assert 0.9 * MAX_EDGES < data["start"] <= MAX_EDGES
    assert data["stops"][-1] == len(circuit.edges)


def test_an_empty_circuit():
    data = graph_data(circuit_of(TINY), None, {})
    assert (data["nodes"], data["stops"], data["start"]) == ([], [0], 0)


def test_a_huge_circuit_is_cut(monkeypatch):
    monkeypatch.setattr(module, "MOST_EDGES", 10)
    circuit = circuit_of_mask(TINY, TINY.valid, np.random.default_rng(0))
    made = list(rows(graph_data(circuit, None, {})))
    part = {(edge.sender, edge.receiver) for edge in strongest_part(circuit, 10)}
    assert {(row["sender"], row["receiver"]) for row in made} == part


@pytest.mark.parametrize("shared", [True, False])
def test_an_edge_into_a_shared_key_leads_to_each_head(shared):
    edges = ["input->a0.h0<k> 1", "a0.h0->logits 1", *(["a0.h1->logits 1"] if shared else [])]
    by_receiver = {row["receiver"]: row for row in rows(graph_data(circuit_of(TINY, *edges), None, {}))}
    assert by_receiver["a0.h0<k>"]["targets"] == (["a0.h0", "a0.h1"] if shared else ["a0.h0"])


def test_places_of_layers_that_differ():
    made = graph_data(circuit_of(UNEVEN, "input->a1.h1<k>", "a1.h2->logits"), None, {})
    assert made["layers"] == [[2, False], [4, True], [2, True]]
    assert [node["head"] for node in made["nodes"]] == [None, 2, None]
    assert "layers" not in graph_data(circuit_of(TINY, "input->m0"), None, {})
