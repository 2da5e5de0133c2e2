"""Tables of results, also where somebody else wrote into the folder."""

from __future__ import annotations

import json

import pyarrow.parquet as pq

from kcircuits.sweeps.store import Store
from kcircuits.sweeps.summary import write_tables

ONE, TWO, THREE = ("ab" * 32, "cd" * 32, "ef" * 32)


def test_rows_of_what_is_there(tmp_path):
    store = Store(tmp_path)

    def fill(folder):
        row = {"key": THREE, "model": "m", "edges": 3, "faithfulness": 0.5, "unknown": 1}
        (folder / "row.json").write_text(json.dumps(row))
        (folder / "timing.json").write_text(json.dumps({"seconds": 1.5, "attempts": 2}))

    store.jobs.put(THREE, fill)
    store.jobs.put(TWO, fill)
    (tmp_path / "jobs" / TWO / "row.json").write_text("{}")  # no longer whole
    store.fail(ONE, {"error": "why", "labels": {"model": "m", "seed": "none", "template": 1, "x": [1]}})
    store.fail(THREE, {"error": "before it was done"})
    rows = write_tables(store)
    assert [(row["key"], row["status"]) for row in rows] == [(ONE, "failed"), (THREE, "done")]
    assert (rows[0]["error"], rows[0]["template"], rows[0]["seed"]) == ("why", 1, None)
    assert (rows[1]["edges"], rows[1]["faithfulness"], rows[1]["error"]) == (3, 0.5, None)
    assert pq.read_table(tmp_path / "summary.parquet").to_pylist() == rows
    (timing,) = pq.read_table(tmp_path / "timings.parquet").to_pylist()
    assert (timing["key"], timing["seconds"], timing["attempts"]) == (THREE, 1.5, 2)


def test_nothing_there(tmp_path):
    assert write_tables(Store(tmp_path)) == []
    assert pq.read_table(tmp_path / "summary.parquet").num_rows == 0
