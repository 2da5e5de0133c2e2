"""`kcircuits convert`: every format in, every format out, and what it says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import networkx as nx
import pytest

from kcircuits.circuit import Circuit
from kcircuits.circuit.drawing import to_dot
from kcircuits.graph import Graph
from kcircuits.interop.eap_ig import read_eap_ig
from kcircuits.interop.edge_lists import read_edge_list
from kcircuits.model import loading
from kcircuits.model.loading import load_model
from tests.circuits import circuit_of, identity_for
from tests.golden import GOLDEN

GRAPH = Graph(3, 4, 2)
EAP_IG = GOLDEN / "llama_gqa" / "eap_top150_graph.json"
MODEL = GOLDEN / "llama_gqa"
LIST = "Resid Start->A1.3.K 0.5\nA1.3->MLP 2 -1\nMLP 2->Resid End 2\n"
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")


@pytest.fixture
def circuit() -> Circuit:
    edges = ("input->a0.h1<k> 0.5", "a0.h3->m1 -2", "m1->logits 3")
    return circuit_of(GRAPH, *edges, model=identity_for(GRAPH) | {"width": 32})


@pytest.fixture
def circuit_file(circuit, tmp_path) -> Path:
    circuit.save(tmp_path / "circuit.json")
    return tmp_path / "circuit.json"


@pytest.fixture
def list_file(tmp_path) -> Path:
    (tmp_path / "edges.txt").write_text(LIST)
    return tmp_path / "edges.txt"


@pytest.fixture(scope="module")
def identity():
    return load_model(MODEL).identity


def test_circuit_json_to_everything_by_suffix(kcircuits, circuit, circuit_file, tmp_path):
    for name in ("copy.json", "c.graphml", "c.dot", "c.gv", "c.csv"):
        done = kcircuits("convert", circuit_file, tmp_path / name)
        assert (done.status, done.err) == (0, "")
        assert done.out == f"3 edges: {tmp_path / name}\n"
    assert Circuit.load(tmp_path / "copy.json") == circuit
    assert len(nx.read_graphml(tmp_path / "c.graphml").edges) == 3
    assert (tmp_path / "c.dot").read_text() == (tmp_path / "c.gv").read_text() == to_dot(circuit)
    assert (tmp_path / "c.csv").read_text().count("\n") == 4


@needs_dot
def test_svg(kcircuits, circuit_file, tmp_path):
    assert kcircuits("convert", circuit_file, tmp_path / "c.svg").status == 0
    assert "<svg" in (tmp_path / "c.svg").read_text()


def test_to_overrules_the_suffix(kcircuits, circuit, circuit_file, tmp_path):
    done = kcircuits("convert", circuit_file, tmp_path / "graph.json", "--to", "eap-ig")
    assert done.status == 0
    assert "shared by 2 heads: scores were spread evenly over the group" in done.out
    again, _ = read_eap_ig(tmp_path / "graph.json", circuit.model)
    assert (again.mask() == circuit.mask()).all()


def test_eap_ig(kcircuits, identity, tmp_path):
    done = kcircuits("convert", EAP_IG, tmp_path / "circuit.json", "--model", MODEL)
    assert (done.status, done.err) == (0, "")
    assert "shared by 2 heads: the scores of a group were summed" in done.out
    expected, _ = read_eap_ig(EAP_IG, identity)
    assert Circuit.load(tmp_path / "circuit.json") == expected


def test_eap_ig_keeps_the_scores_of_edges_that_are_not_in(kcircuits, identity, tmp_path):
    done = kcircuits(
        "convert", EAP_IG, tmp_path / "again.json", "--to", "eap-ig", "--model", MODEL, "--quiet"
    )
    assert (done.status, done.out, done.err) == (0, "", "")
    first, again = (read_eap_ig(path, identity)[1].matrix for path in (EAP_IG, tmp_path / "again.json"))
    assert (first == again).all()


def test_edge_list(kcircuits, identity, list_file, tmp_path):
    done = kcircuits("convert", list_file, tmp_path / "circuit.json", "--model", MODEL, "--json")
    assert (done.status, done.err) == (0, "")
    assert done.json == {
        "file": str(tmp_path / "circuit.json"),
        "from": "edge-list",
        "to": "circuit",
        "num_edges": 3,
        "num_nodes": 4,
        "notes": ["each key and value is shared by 2 heads: the scores of a group were summed"],
    }
    assert Circuit.load(tmp_path / "circuit.json") == read_edge_list(list_file, identity)


def test_its_own_csv_comes_back(kcircuits, identity, tmp_path):
    circuit = circuit_of(Graph(3, 4, 2), "input->a1.h1<k> 0.125", "a1.h3->logits -2", model=identity)
    circuit.save(tmp_path / "circuit.json")
    assert kcircuits("convert", tmp_path / "circuit.json", tmp_path / "c.csv").status == 0
    done = kcircuits("convert", tmp_path / "c.csv", tmp_path / "again.json", "--model", MODEL)
    assert (done.status, done.err) == (0, "")
    assert "the list's keys and values were read as these (--key-heads query: by query head)" in done.out
    assert Circuit.load(tmp_path / "again.json").edges == circuit.edges


def test_key_heads(kcircuits, list_file, tmp_path):
    list_file.write_text("input->a1.h1<k>")
    options = ["convert", list_file, tmp_path / "c.json", "--model", MODEL]
    for key_heads, head in (("shared", 1), ("query", 0)):
        done = kcircuits(*options, "--key-heads", key_heads)
        assert done.status == 0
        (edge,) = Circuit.load(tmp_path / "c.json").edges
        assert edge.receiver == f"a1.h{head}<k>"
    done = kcircuits("convert", EAP_IG, tmp_path / "c.json", "--model", MODEL, "--key-heads", "query")
    assert (done.status, "--key-heads is for lists of edges" in done.err) == (2, True)


def test_a_graph_without_scores_says_so(kcircuits, tmp_path):
    document = json.loads(EAP_IG.read_text())
    for edge in document["edges"].values():
        edge["score"] = None
    (tmp_path / "graph.json").write_text(json.dumps(document))
    done = kcircuits("convert", tmp_path / "graph.json", tmp_path / "c.csv", "--model", MODEL)
    assert (done.status, done.err) == (0, "")
    assert "no scores in the graph: every edge has the score 1" in done.out


def test_what_is_written_and_not_read_is_named(kcircuits, circuit_file, tmp_path):
    for name, what in (
        ("c.graphml", "XML or HTML, such as GraphML"),
        ("c.dot", "a picture in graphviz' language"),
    ):
        assert kcircuits("convert", circuit_file, tmp_path / name).status == 0
        done = kcircuits("convert", tmp_path / name, tmp_path / "back.json", "--model", MODEL)
        assert done.status == 2
        assert what in done.err
        assert not (tmp_path / "back.json").exists()


def test_an_edge_list_without_scores_says_so(kcircuits, list_file, tmp_path):
    list_file.write_text(json.dumps(["Resid Start->Resid End"]))
    done = kcircuits("convert", list_file, tmp_path / "c.csv", "--model", MODEL)
    assert "every edge has the score 1" in done.out


def test_the_model_of_a_circuit_json_is_compared_and_else_not_loaded(
    kcircuits, circuit_file, tmp_path, identity, monkeypatch
):
    circuit_of(GRAPH, "input->m0", model=identity).save(tmp_path / "own.json")
    assert kcircuits("convert", tmp_path / "own.json", tmp_path / "c.csv", "--model", MODEL).status == 0
    done = kcircuits("convert", circuit_file, tmp_path / "d.csv", "--model", MODEL)
    assert done.status == 2
    assert "found in the model 'tiny'" in done.err
    assert not (tmp_path / "d.csv").exists()
    monkeypatch.setattr(loading, "load_model", lambda *_: pytest.fail("the model is loaded"))
    assert kcircuits("convert", circuit_file, tmp_path / "d.csv").status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["CIRCUIT"], "Missing argument 'OUTPUT'"),
        (["nowhere.json", "c.csv"], "nowhere.json: cannot read the circuit: No such file"),
        (["CIRCUIT", "c.txt"], "the format of 'c.txt' is not clear: end it in .json, .graphml"),
        (["CIRCUIT", "circuit"], "the format of 'circuit' is not clear"),
        (["CIRCUIT", "no/folder/c.csv"], "the folder no/folder does not exist"),
        (["CIRCUIT", "c.csv", "--to", "xlsx"], "'--to'"),
        (["CIRCUIT", "c.csv", "--from", "acdc"], "'--from'"),
        (["CIRCUIT", "c.csv", "--from", "eap-ig", "--model", "MODEL"], "not a graph of EAP-IG"),
        (["CIRCUIT", "c.csv", "--model", "nowhere"], "model 'nowhere' does not exist"),
        (["EAP_IG", "c.csv"], "does not name the model that it belongs to: give the model"),
        (["EAP_IG", "c.csv", "--from", "circuit"], "not a circuit"),
        (["LIST", "c.csv"], "does not name the model that it belongs to: give the model"),
        (["LIST", "c.csv", "--from", "circuit"], "not JSON"),
        (["late.txt", "c.csv", "--model", "MODEL"], "late.txt: line 4: no sender 'm7' in Graph"),
        (["CIRCUIT", "folder", "--to", "csv"], "cannot write folder: it exists and is not a regular file"),
        (["CIRCUIT", "c.txt", "--to", "svg"], "a picture's name must end in .svg, .png or .pdf"),
    ],
)
def test_bad_input(kcircuits, circuit_file, list_file, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "late.txt").write_text(LIST + "MLP 7->Resid End 1")
    places = {"CIRCUIT": circuit_file, "EAP_IG": EAP_IG, "LIST": list_file, "MODEL": MODEL}
    before = sorted(tmp_path.rglob("*"))
    done = kcircuits("convert", *(places.get(argument, argument) for argument in arguments))
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("kcircuits: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
