"""EAP-IG's PyTorch file, and graphs whose scores nobody computed."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch

from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.interop.eap_ig import read_eap_ig
from kcircuits.interop.groups import ungroup
from kcircuits.interop.reading import format_of
from tests.circuits import identity_for
from tests.golden import GOLDEN

GRAPHS = {"gpt2": Graph(3, 4, 4), "llama_gqa": Graph(3, 4, 2)}


def identity_of(model: str):
    return identity_for(GRAPHS[model]) | {"width": 32}


def json_of(model: str):
    return json.loads((GOLDEN / model / "eap_top150_graph.json").read_text())


def pt_of(model: str):
    """What `Graph.to_pt` saves of the library's own JSON file."""
    document, wide = json_of(model), ungroup(GRAPHS[model])
    scores = torch.full(wide.valid.shape, 7.0)  # the library has values where there is no edge
    mask = torch.zeros(wide.valid.shape, dtype=torch.bool)
    for name, edge in document["edges"].items():
        sender, _, receiver = name.partition("->")
        place = wide.sender_index(sender), wide.receiver_index(receiver)
        scores[place], mask[place] = edge["score"], edge["in_graph"]
    return {
        "cfg": document["cfg"],
        "src_nodes": list(wide.senders),
        "dst_nodes": list(wide.receivers),
        "edges_scores": scores,
        "edges_in_graph": mask,
        "nodes_in_graph": mask.any(dim=1),
    }


def error_of(path, model="gpt2"):
    with pytest.raises(KCircuitsError) as error:
        read_eap_ig(path, identity_of(model))
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("model", GRAPHS)
def test_both_files_say_the_same(tmp_path, model, old):
    torch.save(pt_of(model), tmp_path / "graph.pt", _use_new_zipfile_serialization=not old)
    circuit, scores = read_eap_ig(tmp_path / "graph.pt", identity_of(model))
    expected, expected_scores = read_eap_ig(GOLDEN / model / "eap_top150_graph.json", identity_of(model))
    assert [(edge.sender, edge.receiver) for edge in circuit.edges] == [
        (edge.sender, edge.receiver) for edge in expected.edges
    ]
    np.testing.assert_allclose(scores.matrix, expected_scores.matrix, rtol=1e-6, atol=1e-9)
    assert format_of(tmp_path / "graph.pt") == "eap-ig"


def test_chosen_nodes_mark_edges_that_are_none(tmp_path):
    """The library marks a whole row for a chosen node."""
    document, graph = pt_of("gpt2"), GRAPHS["gpt2"]
    document["edges_in_graph"][:] = False
    document["edges_in_graph"][graph.sender_index("m1")] = True
    torch.save(document, tmp_path / "graph.pt")
    circuit, _ = read_eap_ig(tmp_path / "graph.pt", identity_of("gpt2"))
    assert circuit.mask().sum() == graph.valid[graph.sender_index("m1")].sum()


def test_whole_nodes_of_neurons_are_read_and_parts_refused(tmp_path):
    document = pt_of("gpt2")
    sending = document["edges_in_graph"].any(dim=1)
    document["neurons_in_graph"] = sending[:, None].repeat(1, 32)
    document["neurons_scores"] = torch.full((len(sending), 32), float("nan"))
    torch.save(document, tmp_path / "graph.pt")
    assert read_eap_ig(tmp_path / "graph.pt", identity_of("gpt2"))[0].edges
    document["neurons_in_graph"][0, 3] = False
    torch.save(document, tmp_path / "graph.pt")
    assert "the file selects neurons inside 'input'" in error_of(tmp_path / "graph.pt")


class Harmful:
    def __reduce__(self):
        return (print, ("this was run",))


@pytest.mark.parametrize("old", [False, True])
def test_nothing_is_run(tmp_path, capsys, old):
    path = tmp_path / "graph.pt"
    torch.save(pt_of("gpt2") | {"more": Harmful()}, path, _use_new_zipfile_serialization=not old)
    message = error_of(path)
    assert "it holds objects other than tensors and plain data" in message
    assert capsys.readouterr().out == ""
    with pytest.raises(KCircuitsError, match="could run code, so it is not loaded"):
        format_of(path)


def without(key):
    return {name: value for name, value in pt_of("gpt2").items() if name != key}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            without("edges_scores"),
            "expected an object with the keys cfg, src_nodes, dst_nodes, edges_scores and",
        ),
        ([1, 2], "edges_in_graph, got [1, 2]"),
        (pt_of("llama_gqa") | {"cfg": {}}, "made with another model: n_layers is None, but 3"),
        (pt_of("gpt2") | {"cfg": [3]}, "'cfg' must be an object, got [3]"),
        (
            pt_of("gpt2") | {"src_nodes": ["input"]},
            "'src_nodes' are not the names of the model's graph: ['input']",
        ),
        (
            pt_of("gpt2") | {"edges_scores": torch.zeros(2, 3)},
            "'edges_scores' must be a tensor of numbers [16, 40]",
        ),
        (pt_of("gpt2") | {"edges_scores": [[0.0]]}, "must be a tensor of numbers [16, 40], got [[0.0]]"),
        (
            pt_of("gpt2") | {"edges_scores": torch.zeros(1).expand(16, 40)},
            "'edges_scores' must be a tensor of numbers",
        ),
        (pt_of("gpt2") | {"edges_scores": torch.full((16, 40), torch.inf)}, "scores must be finite"),
    ],
)
def test_files_that_do_not_fit(tmp_path, document, message):
    torch.save(document, tmp_path / "graph.pt")
    assert message in error_of(tmp_path / "graph.pt")


def test_damaged_files(tmp_path):
    torch.save(pt_of("gpt2"), tmp_path / "whole.pt")
    content = (tmp_path / "whole.pt").read_bytes()
    path = tmp_path / "graph.pt"
    path.write_bytes(content[:-100])
    assert "torch.load cannot read it" in error_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no tensors")
    assert "the file is a zip archive, but not one of torch.save" in error_of(path)
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for entry in whole.infolist():
            small.writestr(entry.filename, whole.read(entry))
    assert "the file is compressed, but those of torch.save never are" in error_of(path)


@pytest.mark.parametrize("none", [None, float("nan")])
def test_a_graph_without_scores(tmp_path, none):
    document = json_of("gpt2")
    for part in ("edges", "nodes"):
        for entry in document[part].values():
            entry["score"] = none
    (tmp_path / "graph.json").write_text(json.dumps(document))
    circuit, scores = read_eap_ig(tmp_path / "graph.json", identity_of("gpt2"))
    expected, _ = read_eap_ig(GOLDEN / "gpt2" / "eap_top150_graph.json", identity_of("gpt2"))
    assert scores is None
    assert (circuit.mask() == expected.mask()).all()
    assert {edge.score for edge in circuit.edges} == {1.0}
    assert circuit.settings == {"scored": False}
    pt = pt_of("gpt2")
    torch.save(pt | {"edges_scores": torch.full_like(pt["edges_scores"], torch.nan)}, tmp_path / "graph.pt")
    assert read_eap_ig(tmp_path / "graph.pt", identity_of("gpt2")) == (circuit, None)


def test_a_graph_with_some_scores(tmp_path):
    document = json_of("gpt2")
    unscored = [name for name, edge in document["edges"].items() if edge["in_graph"]][:3]
    for name in unscored:
        document["edges"][name]["score"] = None
    (tmp_path / "graph.json").write_text(json.dumps(document))
    circuit, scores = read_eap_ig(tmp_path / "graph.json", identity_of("gpt2"))
    assert circuit.settings == {"unscored_edges": 3}
    for edge in circuit.edges:
        name = f"{edge.sender}->{edge.receiver}"
        assert edge.score == pytest.approx(document["edges"][name]["score"] or 0.0, rel=1e-6)
    assert scores is not None


def test_keys_in_another_order_and_a_key_twice(tmp_path):
    """Other programs write EAP-IG's format, too, and put the nodes last."""
    document = json_of("gpt2")
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({key: document[key] for key in ("edges", "nodes", "cfg")} | {"more": [1]}))
    expected, _ = read_eap_ig(GOLDEN / "gpt2" / "eap_top150_graph.json", identity_of("gpt2"))
    assert read_eap_ig(path, identity_of("gpt2"))[0] == expected
    assert format_of(path) == "eap-ig"
    edges = json.dumps(document["edges"])
    twice = edges[:-1] + ', "input->m0": {"score": 1, "in_graph": true}}'
    path.write_text(json.dumps(document).replace(edges, twice))
    assert "the edge input->m0 occurs twice: keep one" in error_of(path)
