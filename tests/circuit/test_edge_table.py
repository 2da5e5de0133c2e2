"""The columns and types of an edge table."""

from __future__ import annotations

from kcircuits.circuit.edge_table import edge_table
from kcircuits.graph import Graph
from tests.circuits import circuit_of

COLUMNS = {
    "sender_layer": "Int64",
    "receiver_layer": "Int64",
    "score": "float64",
}


def test_rows():
    circuit = circuit_of(Graph(12, 4, 2), "input->a0.h1<k> 0.5", "a3.h2->m10 -2", "m11->logits 0")
    table = edge_table(circuit.edges)
    assert table.astype(object).where(table.notna(), None).values.tolist() == [
        ["input", "a0.h1<k>", "k", None, 0, 0.5],
        ["a3.h2", "m10", "mlp", 3, 10, -2.0],
        ["m11", "logits", "logits", 11, None, 0.0],
    ]


def test_types_do_not_depend_on_the_rows():
    full = edge_table(circuit_of(Graph(1, 1, 1), "input->m0").edges)
    assert list(full.columns) == ["sender", "receiver", "kind", "sender_layer", "receiver_layer", "score"]
    empty = edge_table([])
    assert list(empty.columns) == list(full.columns)
    for table in (full, empty):
        assert {name: str(table.dtypes[name]) for name in COLUMNS} == COLUMNS
