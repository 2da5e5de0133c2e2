"""The output folder: whole results or none, and one sweep at a time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.sweeps.store import Store

KEY = "ab" * 32


def fill(folder: Path) -> None:
    (folder / "circuit.json").write_text("a circuit")
    (folder / "row.json").write_text("a row")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "out")


def test_a_result_is_there_once_it_is_put(store):
    assert store.jobs.get(KEY) is None and store.jobs.keys() == []
    folder = store.jobs.put(KEY, fill)
    assert store.jobs.get(KEY) == folder == store.out / "jobs" / KEY
    assert sorted(path.name for path in folder.iterdir()) == ["circuit.json", "done.json", "row.json"]
    assert store.jobs.keys() == [KEY]
    assert list((store.out / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "row.json").write_text("another row"),
        lambda folder: (folder / "row.json").write_text(""),
        lambda folder: (folder / "row.json").unlink(),
        lambda folder: (folder / "done.json").unlink(),
        lambda folder: (folder / "done.json").write_text('{"key": "' + KEY),
        lambda folder: (folder / "done.json").write_text("[]"),
        lambda folder: (folder / "done.json").write_text('{"key": "", "files": {}}'),
        lambda folder: folder.rename(folder.with_name("cd" * 32)),
    ],
)
def test_a_damaged_result_is_none_and_is_made_again(store, damage):
    damage(store.jobs.put(KEY, fill))
    assert all(store.jobs.get(key) is None for key in (KEY, "cd" * 32))
    store.jobs.put(KEY, fill)
    assert store.jobs.get(KEY) is not None
    assert list((store.out / "scratch").iterdir()) == []


def test_other_files_do_no_harm(store):
    (store.jobs.put(KEY, fill) / "report.html").write_text("a report")
    assert store.jobs.get(KEY) is not None


def test_what_fails_leaves_nothing(store):
    def broken(folder: Path) -> None:
        fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.jobs.put(KEY, broken)
    assert store.jobs.get(KEY) is None
    assert list((store.out / "scratch").iterdir()) == []


def test_what_a_killed_process_was_making_is_swept_away(store):
    def killed(folder: Path) -> None:
        (folder / "row.json").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            store.jobs.put(KEY, killed)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert store.jobs.get(KEY) is None and len(list((store.out / "scratch").iterdir())) == 1
    kept = store.scratch_of(KEY)
    kept.mkdir()
    store.clean()
    assert list((store.out / "scratch").iterdir()) == [kept]


def test_one_sweep_at_a_time(store):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            with store.lock():
                os.write(write, b"held")
                signal.pause()
        finally:
            os._exit(1)
    os.close(write)  # so that reading ends where the child does
    try:
        assert os.read(read, 4) == b"held"
        running = rf"another sweep is running .*process {child}\)"
        with pytest.raises(KCircuitsError, match=running), store.lock():
            pass
    finally:
        os.kill(child, signal.SIGKILL)  # which frees the folder, too
        os.waitpid(child, 0)
        os.close(read)
    with store.lock(), pytest.raises(KCircuitsError, match="another sweep"), store.lock():
        pass


def test_failures(store):
    assert store.failures() == {}
    store.fail(KEY, {"error": "why"})
    (store.out / "failed" / ("cd" * 32 + ".json")).write_text("{")
    (store.out / "failed" / "notes.json").write_text("{}")
    assert store.failures() == {KEY: {"error": "why"}}
    store.forgive(KEY)
    store.forgive(KEY)
    assert store.failures() == {}


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(KCircuitsError, match="cannot write into the output folder"),
        Store(tmp_path / "file").lock(),
    ):
        pass
