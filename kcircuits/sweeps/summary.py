"""Two tables of all results in an output folder: what was found, and how long it took.

The first depends on what was found alone: rows are sorted by key and have no times, so a sweep that was
disturbed ends with the same bytes as one that was not.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kcircuits.files import write_atomically, written_together
from kcircuits.sweeps.store import TIMING, Store

DONE, FAILED = "done", "failed"
SUMMARY = pa.schema(
    [
        ("key", pa.string()),
        ("model", pa.string()),
        ("weights", pa.string()),
        ("dtype", pa.string()),
        ("relation", pa.string()),
        ("template", pa.int64()),
        ("half", pa.string()),
        ("num_prompts", pa.int64()),
        ("method", pa.string()),
        ("selection", pa.string()),
        ("settings", pa.string()),
        ("ablation", pa.string()),
        ("metric", pa.string()),
        ("seed", pa.int64()),
        ("metric_full", pa.float64()),
        ("metric_circuit", pa.float64()),
        ("metric_empty", pa.float64()),
        ("edges", pa.int64()),
        ("graph_edges", pa.int64()),
        ("nodes", pa.int64()),
        ("hit_at_10", pa.float64()),
        ("full_hit_at_10", pa.float64()),
        ("faithfulness", pa.float64()),
        ("completeness", pa.float64()),
        ("random_faithfulness", pa.float64()),
        ("p_value", pa.float64()),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)
TIMINGS = pa.schema(
    [
        ("key", pa.string()),
        ("seconds", pa.float64()),
        ("search_seconds", pa.float64()),
        ("attempts", pa.int64()),
        ("memory", pa.int64()),
        ("finished", pa.string()),
    ]
)


_PYTHON = {pa.string(): str, pa.int64(): int, pa.float64(): float}


def write_tables(store: Store) -> list[dict[str, Any]]:
    """Write summary.parquet and timings.parquet from all results that are there; returns the first's rows."""
    rows, times = [], []
    for key in store.jobs.keys():  # noqa: SIM118
        folder = store.jobs.get(key)
        if folder is not None:
            rows.append(done_row(folder))
            times.append({"key": key, **json.loads((folder / TIMING).read_text())})
    there = {row["key"] for row in rows}
    rows += [failed_row(key, report) for key, report in store.failures().items() if key not in there]
    rows.sort(key=lambda row: str(row["key"]))
    with written_together():
        write_atomically(store.out / "summary.parquet", _parquet(rows, SUMMARY))
        write_atomically(store.out / "timings.parquet", _parquet(times, TIMINGS))
    return rows


def done_row(folder: Path) -> dict[str, Any]:
    """The row of a finished result."""
    return _row(json.loads((folder / "row.json").read_text()) | {"status": DONE})


def failed_row(key: str, report: dict[str, Any]) -> dict[str, Any]:
    """The row of a job that failed, from its report; of one that somebody else wrote, what fits."""
    labels = report.get("labels")
    kinds = {field.name: _PYTHON[field.type] for field in SUMMARY}
    known = {
        name: value
        for name, value in (labels if isinstance(labels, dict) else {}).items()
        if name in kinds and type(value) is kinds[name]
    }
    return _row(known | {"key": key, "status": FAILED, "error": str(report.get("error", ""))})


def _row(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values.get(name) for name in SUMMARY.names}


def _parquet(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
    return buffer.getvalue()
