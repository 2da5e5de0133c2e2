"""The circuit's table and CSV."""

from __future__ import annotations

import pandas as pd

from kcircuits.graph import Graph
from kcircuits.interop.table import circuit_table, write_csv
from tests.circuits import circuit_of

CIRCUIT = circuit_of(Graph(2, 4, 2), "input->a1.h1<k> 0.1", "a0.h3->m1 -2", "m1->logits 3")


def test_csv(tmp_path):
    write_csv(CIRCUIT, tmp_path / "circuit.csv")
    assert (tmp_path / "circuit.csv").read_text() == (
        "sender,receiver,kind,sender_layer,receiver_layer,score\n"
        "input,a1.h1<k>,k,,1,0.1\n"
        "a0.h3,m1,mlp,0,1,-2.0\n"
        "m1,logits,logits,1,,3.0\n"
    )


def test_csv_is_the_table(tmp_path):
    write_csv(CIRCUIT, tmp_path / "circuit.csv")
    types = {"sender_layer": "Int64", "receiver_layer": "Int64"}
    table = circuit_table(CIRCUIT)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "circuit.csv", dtype=types), table, check_dtype=False
    )
    assert table.score.tolist() == [edge.score for edge in CIRCUIT.edges]
