"""EAP-IG's own files: read as the library meant them, and written so that it reads them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.interop.eap_ig import read_eap_ig, write_eap_ig
from tests.circuits import circuit_of, circuit_of_mask, graphs, identity_for, masks, scores_for
from tests.golden import GOLDEN, eap_golden

FULL, GROUPED = Graph(3, 4, 4), Graph(3, 4, 2)
GRAPHS = {"gpt2": FULL, "llama_gqa": GROUPED}


def file_of(model: str):
    return GOLDEN / model / "eap_top150_graph.json"


def own_name(graph: Graph, edge: str) -> str:
    """An edge's name with the key/value head of its query head."""
    head, bracket, kind = edge.rpartition("<")
    if kind not in ("k>", "v>"):
        return edge
    start, dot, number = head.rpartition(".h")
    return f"{start}{dot}{int(number) // (graph.num_heads // graph.num_kv_heads)}{bracket}{kind}"


def identity_of(graph: Graph):
    return identity_for(graph) | {"width": 32}


@pytest.mark.parametrize("model", GRAPHS)
def test_the_circuit_is_the_library_s(model):
    graph, golden = GRAPHS[model], eap_golden(model)
    circuit, _ = read_eap_ig(file_of(model), identity_of(graph))
    names = {f"{edge.sender}->{edge.receiver}" for edge in circuit.edges}
    assert names == {own_name(graph, edge) for edge in golden["eap_top150_edges"]}
    assert (circuit.method, circuit.metric, circuit.stats) == ("eap-ig-file", {}, {})


@pytest.mark.parametrize("model", GRAPHS)
def test_the_scores_are_sums_of_the_library_s(model):
    graph, golden = GRAPHS[model], eap_golden(model)
    expected = np.zeros(graph.valid.shape)
    for column, name in enumerate(golden["dst"]):
        own = own_name(graph, str(name))
        values = np.where(golden["real_edges"][:, column], golden["eap"][:, column], 0)
        expected[:, graph.receiver_index(own)] += values
    circuit, scores = read_eap_ig(file_of(model), identity_of(graph))
    np.testing.assert_allclose(scores.matrix, expected, rtol=1e-5, atol=1e-7)
    for edge in circuit.edges:
        place = graph.sender_index(edge.sender), graph.receiver_index(edge.receiver)
        assert edge.score == scores.matrix[place]


def test_written_as_the_library_writes_it(tmp_path):
    circuit, scores = read_eap_ig(file_of("gpt2"), identity_of(FULL))
    write_eap_ig(circuit, tmp_path / "graph.json", scores)
    written, original = (
        json.loads((tmp_path / "graph.json").read_text()),
        json.loads(file_of("gpt2").read_text()),
    )
    assert written == original


@pytest.mark.parametrize("model", GRAPHS)
def test_round_trip(model, tmp_path):
    circuit, scores = read_eap_ig(file_of(model), identity_of(GRAPHS[model]))
    write_eap_ig(circuit, tmp_path / "graph.json", scores)
    again, scores_again = read_eap_ig(tmp_path / "graph.json", identity_of(GRAPHS[model]))
    assert again == circuit
    assert (scores_again.matrix == scores.matrix).all()


@given(st.data())
def test_round_trip_of_any_circuit(tmp_path_factory, data):
    graph = data.draw(graphs())
    rng = np.random.default_rng(0)
    circuit = circuit_of_mask(graph, data.draw(masks(graph)), rng, model=identity_of(graph))
    path = tmp_path_factory.mktemp("eap") / "graph.json"
    write_eap_ig(circuit, path)
    again, scores = read_eap_ig(path, circuit.model)
    assert (again.mask() == circuit.mask()).all()
    np.testing.assert_allclose(
        [edge.score for edge in again.edges], [edge.score for edge in circuit.edges], rtol=1e-6
    )
    assert not scores.matrix[~circuit.mask()].any()


def test_a_score_is_spread_over_its_group(tmp_path):
    circuit = circuit_of(GROUPED, "input->a0.h1<k> 6", "a0.h2->logits 1", model=identity_of(GROUPED))
    write_eap_ig(circuit, tmp_path / "graph.json")
    document = json.loads((tmp_path / "graph.json").read_text())
    values = [document["edges"][f"input->a0.h{head}<k>"] for head in range(4)]
    assert values == [{"score": 0, "in_graph": False}] * 2 + [{"score": 3, "in_graph": True}] * 2
    assert [name for name, node in document["nodes"].items() if node["in_graph"]] == list(circuit.nodes)
    assert document["cfg"] == {"n_layers": 3, "n_heads": 4, "parallel_attn_mlp": False, "d_model": 32}


def test_what_cannot_be_written(tmp_path):
    circuit = circuit_of(GROUPED, "input->m0")
    with pytest.raises(KCircuitsError, match="needs the model's 'width', but its identity has None"):
        write_eap_ig(circuit, tmp_path / "graph.json")
    other = scores_for(GROUPED, np.random.default_rng(0), model=identity_for(GROUPED, "other", "b" * 64))
    with pytest.raises(KCircuitsError, match="the scores were found in the model 'other'"):
        write_eap_ig(replace(circuit, model=identity_of(GROUPED)), tmp_path / "graph.json", other)
    assert list(tmp_path.iterdir()) == []


def changed(**changes):
    document = json.loads(file_of("gpt2").read_text())
    return document | {key: change(document[key]) for key, change in changes.items()}


def without(name):
    return lambda edges: {key: value for key, value in edges.items() if key != name}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "expected an object with the keys cfg, nodes and edges, got []"),
        ({"cfg": {}}, "expected an object with the keys cfg, nodes and edges"),
        (changed(edges=list), "'edges' must be an object, got ['input"),
        (changed(cfg=lambda cfg: cfg | {"n_heads": 12}), "n_heads is 12, but 4 in the given model"),
        (changed(cfg=lambda cfg: cfg | {"n_layers": "3"}), "n_layers is '3', but 3"),
        (changed(cfg=lambda cfg: cfg | {"parallel_attn_mlp": True}), "parallel_attn_mlp is True, but False"),
        (changed(cfg=lambda cfg: cfg | {"d_model": 64}), "d_model is 64, but 32"),
        (changed(nodes=lambda nodes: nodes | {"m0": {"neurons": []}}), "selects neurons inside 'm0'"),
        (changed(edges=without("input->m0")), "the file has 261 edges, but the graph has 262"),
        (changed(edges=lambda edges: edges | {"input->m7": {}}), "no receiver 'm7'"),
        (changed(edges=lambda edges: edges | {"m1->m0": {}}), "no edge m1->m0 in"),
        (
            changed(edges=lambda edges: edges | {"input->m0": 3}),
            "input->m0 must have the keys score and in_graph",
        ),
        (
            changed(edges=lambda edges: edges | {"input->m0": {"score": "1", "in_graph": True}}),
            "input->m0 must have a number (or null) as score and true or false as in_graph",
        ),
        (
            changed(edges=lambda edges: edges | {"input->m0": {"score": 1, "in_graph": 1}}),
            "input->m0 must have a number (or null) as score and true or false as in_graph",
        ),
        (
            changed(edges=lambda edges: edges | {"input->m0": {"score": 1e300, "in_graph": True}}),
            "scores must be finite",
        ),
    ],
)
def test_files_that_do_not_fit(tmp_path, document, message):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(document))
    with pytest.raises(KCircuitsError) as error:
        read_eap_ig(path, identity_of(FULL))
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 300


@pytest.mark.parametrize("content", [b"", b"\x80\x04]\x94.", b'{"cfg": NaN}', b"[" * 100_000])
def test_files_that_are_none(tmp_path, content):
    path = tmp_path / "graph.json"
    path.write_bytes(content)
    with pytest.raises(KCircuitsError, match=r"graph\.json: "):
        read_eap_ig(path, identity_of(FULL))
