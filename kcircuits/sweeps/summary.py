"""Two tables of all results in an output folder: a summary of results, and run times.

The summary depends only on results: rows are sorted by key and have no times, so an interrupted sweep ends
with the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcircuits.files.writing import write_atomically, write_together
from kcircuits.runtime.optional import need
from kcircuits.sweeps.store import TIMING, Store

if TYPE_CHECKING:
    import pyarrow as pa

DONE, FAILED = "done", "failed"
SUMMARY: dict[str, type] = {
    "key": str,
    "model": str,
    "weights": str,
    "dtype": str,
    "relation": str,
    "template": int,
    "half": str,
    "num_prompts": int,
    "method": str,
    "selection": str,
    "settings": str,
    "ablation": str,
    "metric": str,
    "seed": int,
    "metric_full": float,
    "metric_circuit": float,
    "metric_empty": float,
    "edges": int,
    "graph_edges": int,
    "nodes": int,
    "hit_at_10": float,
    "full_hit_at_10": float,
    "faithfulness": float,
    "completeness": float,
    "random_faithfulness": float,
    "p_value": float,
    "status": str,
    "error": str,
}
TIMINGS: dict[str, type] = {
    "key": str,
    "seconds": float,
    "search_seconds": float,
    "attempts": int,
    "memory": int,
    "finished": str,
}
"""The columns of the two tables, and the type of their values."""


def write_tables(store: Store) -> list[dict[str, Any]]:
    """Write summary.parquet and timings.parquet from all existing results; returns the summary's rows."""
    rows, times = [], []
    for key in store.jobs.keys():  # noqa: SIM118
        folder = store.jobs.get(key)
        if folder is not None:
            rows.append(done_row(folder))
            times.append({"key": key, **json.loads((folder / TIMING).read_text())})
    there = {row["key"] for row in rows}
    rows += [failed_row(key, report) for key, report in store.failures().items() if key not in there]
    rows.sort(key=lambda row: str(row["key"]))
    with write_together():
        write_atomically(store.out / "summary.parquet", _parquet(rows, SUMMARY))
        write_atomically(store.out / "timings.parquet", _parquet(times, TIMINGS))
    return rows


def done_row(folder: Path) -> dict[str, Any]:
    """The row of a finished result."""
    return _row(json.loads((folder / "row.json").read_text()) | {"status": DONE})


def failed_row(key: str, report: dict[str, Any]) -> dict[str, Any]:
    """The row of a failed job from its report. Of an unknown report, only valid values are used."""
    labels = report.get("labels")
    known = {
        name: value
        for name, value in (labels if isinstance(labels, dict) else {}).items()
        if name in SUMMARY and type(value) is SUMMARY[name]
    }
    return _row(known | {"key": key, "status": FAILED, "error": str(report.get("error", ""))})


def _row(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values.get(name) for name in SUMMARY}


def schema(columns: Mapping[str, type]) -> pa.Schema:
    """The columns of a table in Arrow's types."""
    pa = need("pyarrow", "tables of sweeps")
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    return pa.schema([(name, kinds[kind]) for name, kind in columns.items()])


def _parquet(rows: list[dict[str, Any]], columns: Mapping[str, type]) -> bytes:
    pa, parquet = need("pyarrow", "tables of sweeps"), need("pyarrow.parquet", "tables of sweeps")
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema(columns)), buffer)
    return buffer.getvalue()
