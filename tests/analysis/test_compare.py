"""Circuits side by side: what the comparison says, and what it refuses."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import kcircuits
from kcircuits.analysis.comparison.reading import compare
from kcircuits.analysis.comparison.results import Comparison
from kcircuits.circuit import Circuit, edge_jaccard, node_jaccard
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from tests.circuits import circuit_of, identity_for

TINY = Graph(num_layers=2, num_heads=2, num_kv_heads=1)
FIRST = circuit_of(TINY, "input->m0 2", "m0->logits 2", "input->a1.h1<q> 2", "a1.h1->logits -2")
SECOND = circuit_of(TINY, "input->a1.h0<v> 1", "a1.h0->logits 3", "input->m0 0", "m0->logits 0")
THIRD = circuit_of(TINY, "input->logits 1")
CIRCUITS = (FIRST, SECOND, THIRD)


@pytest.fixture(scope="module")
def made() -> Comparison:
    return compare(CIRCUITS, ["a", "b", "c"], ["x", "x", "y"], backbone=0.6, random_circuits=3)


def test_it_is_in_the_package():
    assert kcircuits.compare is compare


def test_matrices(made):
    for a, first in enumerate(CIRCUITS):
        for b, second in enumerate(CIRCUITS):
            assert made.node_overlap[a, b] == pytest.approx(node_jaccard(first, second))
            assert made.edge_overlap[a, b] == pytest.approx(edge_jaccard(first, second))
    assert made.reverse_overlap[0, 2] == 1  # the first has both nodes of the third
    assert made.reverse_overlap[2, 0] == 2 / 4


def test_the_rest(made):
    assert [(c.name, c.domain, c.num_edges, c.num_nodes) for c in made.circuits] == [
        ("a", "x", 4, 4), ("b", "x", 4, 4), ("c", "y", 1, 2),
    ]  # fmt: skip
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert [c.entropy for c in made.circuits] == pytest.approx([math.log(4), entropy, 0])
    assert made.frequency["x"].tolist() == [[0, 1], [0.5, 0]]
    assert made.frequency["y"].tolist() == [[0, 0], [0, 0]]
    assert made.backbone == (("m0", 2 / 3),)
    assert made.two_hop is None


def test_tables(made):
    table = made.table()
    assert len(table) == 9
    row = table[(table["first"] == "a") & (table["second"] == "b")].iloc[0]
    assert row["node_overlap"] == made.node_overlap[0, 1]
    frequencies = made.frequency_table()
    assert list(frequencies.columns) == ["domain", "layer", "heads", "mlp"]
    assert len(frequencies) == 4


def test_json(made, tmp_path):
    made.save(tmp_path / "comparison.json")
    document = json.loads((tmp_path / "comparison.json").read_text())
    assert document == made.to_json()
    assert document["format"] == "kcircuits-comparison/1"
    assert document["edge_overlap"] == made.edge_overlap.tolist()
    assert document["frequency"]["x"][1] == {"layer": 1, "heads": 0.5, "mlp": 0.0}
    assert document["backbone"] == [{"node": "m0", "share": 2 / 3}]
    assert document["two_hop"] is None


def test_hops():
    made = compare(CIRCUITS, ["a", "b", "c"], hops=("c", "a", "b"), random_circuits=4, seed=1)
    assert made.two_hop is not None
    assert (made.two_hop.parts, made.two_hop.whole, len(made.two_hop.random)) == (("c", "a"), "b", 4)
    assert made.to_json()["two_hop"] == made.two_hop.to_json()


def test_defaults_and_empty_circuits():
    made = compare([FIRST, circuit_of(TINY)])
    assert [(circuit.name, circuit.domain) for circuit in made.circuits] == [("1", "all"), ("2", "all")]
    assert made.node_overlap.tolist() == [[1, 0], [0, 1]]
    assert made.reverse_overlap.tolist() == [[1, 1], [0, 1]]
    assert compare([circuit_of(TINY)] * 2).edge_overlap.tolist() == [[1, 1], [1, 1]]
    assert np.isfinite(made.edge_overlap).all()


OTHER = identity_for(TINY, name="other", weights_hash="1" * 64)
UNKNOWN = {key: value for key, value in identity_for(TINY).items() if key != "weights_hash"}
LARGER = Graph(num_layers=3, num_heads=2, num_kv_heads=1)


@pytest.mark.parametrize(
    ("circuits", "options", "message"),
    [
        ([FIRST], {}, "from 2 to 200 circuits can be compared, got 1"),
        ([FIRST] * 201, {}, "from 2 to 200 circuits can be compared, got 201"),
        (CIRCUITS, {"names": ["a", "b"]}, "names must be one for each of the 3 circuits, got 2"),
        (CIRCUITS, {"names": ["a", "b", "a"]}, "two circuits have the name 'a'"),
        (CIRCUITS, {"names": ["a", "b", " "]}, "names must be texts that are not empty, got ' '"),
        (CIRCUITS, {"domains": ["a"]}, "domains must be one for each of the 3 circuits, got 1"),
        (CIRCUITS, {"backbone": 0}, "backbone must be a share above 0 and at most 1, got 0"),
        (CIRCUITS, {"backbone": 1.5}, "backbone must be a share"),
        (CIRCUITS, {"backbone": float("nan")}, "backbone must be a share"),
        (CIRCUITS, {"random_circuits": -1}, "random_circuits must be a whole number, at least 0; got -1"),
        (CIRCUITS, {"seed": 0.5}, "seed must be a whole number, at least 0; got 0.5"),
        (CIRCUITS, {"hops": ("1", "2", "4")}, "no circuit '4'"),
        (
            [FIRST, circuit_of(TINY, "input->logits", model=OTHER)],
            {"names": ["a", "b"]},
            r"the circuit 'b' was found in the model 'other' \(weights 1{12}\) and 'a' in 'tiny' .*: compare",
        ),
        ([FIRST, circuit_of(TINY, "input->logits", model=UNKNOWN)], {}, "'2' was found in the model"),
        ([FIRST, circuit_of(LARGER, "input->logits")], {}, "'2' was found in the model"),
    ],
)
def test_bad_input(circuits, options, message):
    with pytest.raises(KCircuitsError, match=message):
        compare(circuits, **options)


def test_a_circuit_of_no_model_is_compared_with_none():
    unknown: Circuit = circuit_of(TINY, "input->logits", model=UNKNOWN)
    with pytest.raises(KCircuitsError, match="compare circuits of one model"):
        compare([unknown, unknown])
