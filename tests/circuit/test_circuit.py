"""Circuits: invariants, nodes, algebra, and the file they live in."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.circuit import Circuit, Edge, edge_jaccard, node_jaccard
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph, kind_of
from tests.circuits import all_graphs, circuit_of, circuit_of_mask, identity_for, masks
from tests.golden import acdc_golden

TINY = Graph(num_layers=2, num_heads=4, num_kv_heads=2)


@st.composite
def circuits(draw: st.DrawFn, count: int = 1) -> list[Circuit]:
    """Circuits of one model."""
    graph = draw(all_graphs())
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return [circuit_of_mask(graph, draw(masks(graph)), rng) for _ in range(count)]


def names(circuit: Circuit) -> set[str]:
    return {f"{edge.sender}->{edge.receiver}" for edge in circuit.edges}


def test_edges_are_kept_in_the_order_of_the_mask():
    circuit = circuit_of(TINY, "m0->logits 3", "input->m1 2", "input->a0.h0<k> 1", "a0.h3->m1 0")
    assert [edge.score for edge in circuit.edges] == [1, 2, 0, 3]
    expected = [(TINY.sender_index(e.sender), TINY.receiver_index(e.receiver)) for e in circuit.edges]
    assert np.argwhere(circuit.mask()).tolist() == [list(place) for place in expected]
    assert circuit == replace(circuit, edges=circuit.edges[::-1])


def test_scores_become_floats():
    (edge,) = circuit_of(TINY, Edge("input", "m0", np.float32(0.5))).edges
    assert type(edge.score) is float


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (["output->m0"], "no sender 'output'"),
        (["input->a0.h2<k>"], "no receiver 'a0.h2<k>'"),
        (["m1->m0"], "no edge m1->m0 .* computed after"),
        (["m0->m0"], "no edge m0->m0"),
        (["input->m0 1", "input->m0 2"], "the edge input->m0 occurs twice"),
        (["input->m0 nan"], "the score of input->m0 must be a finite number, got nan"),
        (["input->m0 -inf"], "must be a finite number, got -inf"),
    ],
)
def test_impossible_edges(edges, message):
    with pytest.raises(KCircuitsError, match=message):
        circuit_of(TINY, *edges)


@pytest.mark.parametrize("score", ["high", None, 10**400], ids=["text", "none", "huge"])
def test_scores_that_are_no_numbers(score):
    with pytest.raises(KCircuitsError, match="must be a finite number"):
        circuit_of(TINY, Edge("input", "m0", score))


def test_heads_of_the_own_layer_feed_the_mlp_unless_parallel():
    circuit_of(TINY, "a0.h0->m0")
    with pytest.raises(KCircuitsError, match=r"no edge a0\.h0->m0"):
        circuit_of(replace(TINY, parallel=True), "a0.h0->m0")


def test_model_with_another_graph():
    with pytest.raises(KCircuitsError, match=r"the model's graph is .*num_layers=3.*num_layers=2"):
        circuit_of(TINY, model=identity_for(Graph(3, 4, 2)))


def test_metric_must_be_finite():
    with pytest.raises(KCircuitsError, match="metric 'empty' must be a finite number, got inf"):
        circuit_of(TINY, metric={"empty": float("inf")})


@pytest.mark.parametrize(
    ("edges", "nodes"),
    [
        ([], ()),
        (["input->logits"], ("input", "logits")),
        (["m0->logits", "input->m0"], ("input", "m0", "logits")),
        (["input->a0.h1<q>"], ("input", "a0.h1")),
        # A shared key: the heads that send something on, or all that it shapes.
        (["input->a0.h1<k>", "a0.h3->m1"], ("input", "a0.h3", "m1")),
        (["input->a0.h1<k>", "a0.h1->m1"], ("input", "a0.h1", "a0.h2", "a0.h3", "m1")),
    ],
)
def test_nodes(edges, nodes):
    assert circuit_of(TINY, *edges).nodes == nodes


@given(circuits())
def test_nodes_of_a_pruned_circuit_are_its_senders_and_the_sink(circuits):
    pruned = circuits[0].prune()
    senders = {edge.sender for edge in pruned.edges}
    assert set(pruned.nodes) == (senders | {"logits"} if senders else set())


@given(circuits())
def test_pruning_keeps_scores_and_settles(circuits):
    (circuit,) = circuits
    pruned = circuit.prune()
    assert set(pruned.edges) <= set(circuit.edges)
    assert pruned.prune() == pruned
    assert (pruned.model, pruned.method, pruned.settings) == (circuit.model, circuit.method, circuit.settings)
    assert pruned.metric == pruned.stats == {}


@given(circuits(count=2))
def test_algebra_is_that_of_edge_sets(circuits):
    first, second = circuits
    assert names(first.union(second)) == names(first) | names(second)
    assert names(first.intersection(second)) == names(first) & names(second)
    assert names(first.difference(second)) == names(first) - names(second)
    assert names(first.restrict(second.mask())) == names(first) & names(second)
    for result in (first.intersection(second), first.difference(second), first.restrict(second.mask())):
        assert set(result.edges) <= set(first.edges)
    assert set(first.edges) <= set(first.union(second).edges)


@given(circuits(count=2))
def test_jaccard(circuits):
    first, second = circuits
    for jaccard, items in ((edge_jaccard, names), (node_jaccard, lambda circuit: set(circuit.nodes))):
        common, either = items(first) & items(second), items(first) | items(second)
        assert jaccard(first, second) == (len(common) / len(either) if either else 1)
        assert jaccard(first, first) == 1


def test_combined_circuits_tell_where_they_come_from():
    first = circuit_of(TINY, "input->m0", method="acdc", settings={"threshold": 0.1})
    second = circuit_of(TINY, "input->m1", method="eap", settings={"top_n": 9})
    union = first.union(second)
    assert union.method == "union"
    assert union.settings == {
        "of": [
            {"method": "acdc", "settings": {"threshold": 0.1}},
            {"method": "eap", "settings": {"top_n": 9}},
        ]
    }
    assert union.metric == union.stats == {}


def test_other_models():
    circuit = circuit_of(TINY, "input->m0", model=identity_for(TINY, "base", "a" * 64))
    edited = circuit_of(TINY, "input->m0", "input->m1", model=identity_for(TINY, "edited", "b" * 64))
    bigger = circuit_of(Graph(3, 4, 2), "input->m0")
    assert names(edited.difference(circuit)) == {"input->m1"}
    assert edge_jaccard(circuit, edited) == 0.5
    with pytest.raises(KCircuitsError, match=r"'base' \(weights a{12}\).* 'edited' \(weights b{12}\)"):
        circuit.union(edited)
    for combine in (circuit.intersection, circuit.difference):
        with pytest.raises(KCircuitsError, match="different graphs"):
            combine(bigger)
    for jaccard in (edge_jaccard, node_jaccard):
        with pytest.raises(KCircuitsError, match="different graphs"):
            jaccard(circuit, bigger)


def test_check_model():
    circuit = circuit_of(TINY, model=identity_for(TINY, "base", "a" * 64))
    circuit.check_model(identity_for(TINY, "the same under another name", "a" * 64))
    with pytest.raises(KCircuitsError, match=r"found in the model 'base'.* this is 'other'"):
        circuit.check_model(identity_for(TINY, "other", "b" * 64))
    unknown = {key: value for key, value in circuit.model.items() if key != "weights_hash"}
    for model, identity in ((circuit.model, unknown), (unknown, circuit.model), (unknown, unknown)):
        with pytest.raises(KCircuitsError, match="weights unknown"):
            replace(circuit, model=model).check_model(identity)


@pytest.mark.parametrize(
    "mask", [np.ones((2, 2), dtype=bool), TINY.valid.astype(np.float32), TINY.valid.T], ids=lambda m: m.dtype
)
def test_restricted_to_something_else_than_a_mask(mask):
    with pytest.raises(KCircuitsError, match=r"a mask must be bool \[11, 19\], got"):
        circuit_of(TINY, "input->m0").restrict(mask)


def test_networkx():
    result = circuit_of(TINY, "input->a0.h1<k> 0.5", "input->a0.h3<q> -1", "a0.h3->logits", "a0.h2->m1")
    graph = result.to_networkx()
    assert tuple(graph.nodes) == ("input", "a0.h2", "a0.h3", "m1", "logits")
    assert {
        (*edge[:2], edge[2]["receiver"], edge[2]["kind"], edge[2]["score"]) for edge in graph.edges.data()
    } == {
        ("input", "a0.h2", "a0.h1<k>", "k", 0.5),
        ("input", "a0.h3", "a0.h1<k>", "k", 0.5),
        ("input", "a0.h3", "a0.h3<q>", "q", -1.0),
        ("a0.h3", "logits", "logits", "logits", 1.0),
        ("a0.h2", "m1", "m1", "mlp", 1.0),
    }


def test_kind_of():
    kinds = [kind_of(receiver) for receiver in Graph(1, 2, 1).receivers]
    assert kinds == ["q", "q", "k", "v", "mlp", "logits"]


@given(circuits())
def test_save_and_load(tmp_path_factory, circuits):
    path = tmp_path_factory.mktemp("circuit") / "circuit.json"
    circuits[0].save(path)
    assert Circuit.load(path) == circuits[0]


def test_the_file(tmp_path):
    path = tmp_path / "circuit.json"
    circuit = circuit_of(TINY, "input->m0 0.1", "m0->logits -2")
    circuit.save(path)
    assert json.loads(path.read_text()) == {
        "format": "kcircuits/1",
        "model": circuit.model,
        "method": "acdc",
        "settings": {"threshold": 0.01, "metric": "nll"},
        "metric": {"full": 0.5, "circuit": 0.75, "empty": 9.0},
        "edges": [
            {"src": "input", "dst": "m0", "score": 0.1},
            {"src": "m0", "dst": "logits", "score": -2.0},
        ],
        "nodes": ["input", "m0", "logits"],
        "stats": {"tests": 20, "evaluations": 25, "seconds": 0.5},
    }


def test_load_names_the_file_and_what_does_not_fit(tmp_path):
    path = tmp_path / "circuit.json"
    circuit_of(TINY, "input->m0").save(path)
    path.write_text(path.read_text().replace('"dst": "m0"', '"dst": "m7"'))
    with pytest.raises(KCircuitsError, match=r"circuit\.json: no receiver 'm7'"):
        Circuit.load(path)


def test_pruning_the_golden_circuit():
    """ACDC keeps some edges before it finds out that nothing reaches them."""
    edges = acdc_golden("smollm2")[0]["edges"]
    circuit = circuit_of(Graph(30, 9, 3), *(Edge(*edge) for edge in edges))
    assert (len(circuit.edges), len(circuit.nodes)) == (374, 119)
    pruned = circuit.prune()
    assert 0 < len(pruned.edges) < 374
    senders = {edge.sender for edge in pruned.edges}
    assert all(
        senders.intersection(circuit.graph.nodes_of(edge.receiver)) or edge.receiver == "logits"
        for edge in pruned.edges
    )
