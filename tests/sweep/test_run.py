"""Whole sweeps in this process: nothing is done twice, nothing is lost, and the summary stays the same."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet as pq
import pytest

import kcircuits
from kcircuits.errors import KCircuitsError
from kcircuits.sweeps import DiskFullError, run
from kcircuits.sweeps.run import sweep
from kcircuits.sweeps.summary import SUMMARY, TIMINGS, schema
from tests.sweep.conftest import RELATION, SWEEP


def summary_of(out) -> bytes:
    return (out / "summary.parquet").read_bytes()


def started(updates):
    return [update.key for update in updates if update.status == "running" and not update.place]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_sweep_and_the_same_again(written, out):
    path = written()
    updates = []
    first = sweep(path, out, workers=0, progress=updates.append)
    assert (first.done, first.failed, first.reused) == (4, 0, 0)
    assert len(set(started(updates))) == 4
    assert [row["key"] for row in first.rows] == sorted(path.name for path in (out / "jobs").iterdir())
    before, updates = summary_of(out), []
    second = sweep(path, out, workers=0, progress=updates.append)
    assert (second.done, second.reused, updates, second.rows) == (4, 4, [], first.rows)
    assert summary_of(out) == before


def test_tables(written, out):
    result = sweep(written(), out, workers=0)
    table = pq.read_table(out / "summary.parquet")
    assert table.schema == schema(SUMMARY) and tuple(table.to_pylist()) == result.rows
    assert set(table["status"].to_pylist()) == {"done"}
    assert result.table()["edges"].tolist() == table["edges"].to_pylist()
    timings = pq.read_table(out / "timings.parquet")
    assert timings.schema == schema(TIMINGS) and timings["key"] == table["key"]
    assert min(timings["seconds"].to_pylist()) > 0 and set(timings["attempts"].to_pylist()) == {1}


def test_another_sweep_into_the_same_folder(written, out, tmp_path):
    sweep(written(), out, workers=0)
    more = written("more.yaml", methods=[{"method": "eap", "top_n": [20, 40, 60]}])
    updates = []
    result = sweep(more, out, workers=0, progress=updates.append)
    assert (result.done, result.reused) == (3, 2)
    assert len(set(started(updates))) == 1
    assert pq.read_table(out / "summary.parquet").num_rows == 5  # of both
    both = tmp_path / "both"
    methods = [{"method": "acdc", "threshold": [0.3, 0.1]}, {"method": "eap", "top_n": [40, 20, 60]}]
    sweep(written(methods=methods), both, workers=0)
    assert summary_of(both) == summary_of(out)


def test_a_dict_and_the_names_of_the_package(place, out, monkeypatch):
    monkeypatch.chdir(place)
    result = kcircuits.sweep(SWEEP, "out", workers=0)
    assert result.done == 4
    with pytest.raises(KCircuitsError, match=r"sweep: methods\[0\]: eap needs a top_n or a threshold"):
        kcircuits.sweep(SWEEP | {"methods": [{"method": "eap"}]}, out)
    with pytest.raises(KCircuitsError, match="workers must be"):
        kcircuits.sweep(SWEEP, out, workers=-1)
    assert not out.exists()


def test_damaged_results_are_done_again(written, out):
    path = written()
    first = sweep(path, out, workers=0)
    before = summary_of(out)
    (out / "jobs" / first.rows[0]["key"] / "circuit.json").write_text("{")
    (out / "jobs" / first.rows[1]["key"] / "done.json").unlink()
    shutil.rmtree(out / "jobs" / first.rows[2]["key"])
    (out / "summary.parquet").write_bytes(b"half")
    updates = []
    second = sweep(path, out, workers=0, progress=updates.append)
    assert sorted(set(started(updates))) == [row["key"] for row in first.rows[:3]]
    assert (second.reused, summary_of(out)) == (1, before)


def test_failing_jobs(written, place, out, monkeypatch):
    """Recorded, summed up, and tried again by the next sweep; the others are done."""
    strange = RELATION | {"name": "../../strange", "samples": [{"subject": "France", "object": "Quechua"}]}
    (place / "strange.json").write_text(json.dumps(strange))
    path = written(prompts=[{"relation": ["relation.json", "strange.json"], "top_k": 0, "limit": 2}])
    before = {*place.parent.rglob("*")} - {*out.rglob("*")}

    def fail(*_, **__):
        raise KCircuitsError("no scores today")

    with monkeypatch.context() as patch:
        patch.setattr("kcircuits.sweeps.work.attribute", fail)
        result = sweep(path, out, workers=0)
    assert (result.done, result.failed) == (2, 6)
    rows = [row for row in result.rows if row["status"] == "failed"]
    assert {row["error"] for row in rows if row["relation"] == "country language"} == {"no scores today"}
    assert all("gives a prompt" in row["error"] for row in rows if row["relation"] == "../../strange")
    reports = {path.stem: json.loads(path.read_text()) for path in (out / "failed").iterdir()}
    assert reports.keys() == {row["key"] for row in rows}
    assert any("no scores today" in line for report in reports.values() for line in report.get("trace", ()))

    again = sweep(path, out, workers=0)
    assert (again.done, again.failed, again.reused) == (4, 4, 2)
    assert len(list((out / "failed").iterdir())) == 4
    # A relation's name leads nowhere.
    assert {*place.parent.rglob("*")} - {*out.rglob("*")} == before | {out}


def test_bad_input_leaves_nothing(written, out):
    for change in ({"models": ["none"]}, {"seeds": ["x"]}):
        with pytest.raises(KCircuitsError):
            sweep(written(**change), out, workers=0)
        assert not out.exists()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(KCircuitsError):
        sweep(written(models=["none"]), out, workers=0)
    assert (out / "notes.txt").read_text() == "mine"


def test_an_interrupt_keeps_what_is_done(written, out):
    path = written()

    def interrupt(update):
        if update.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(path, out, workers=0, progress=interrupt)
    assert pq.read_table(out / "summary.parquet").num_rows == 2
    whole = sweep(path, out, workers=0)
    assert (whole.done, whole.reused) == (4, 2)


def test_a_full_disk_while_tables_are_written(written, out, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_tables", full)
        with pytest.raises(DiskFullError, match="No space left"):
            sweep(written(), out, workers=0)
    assert sweep(written(), out, workers=0).reused == 4
