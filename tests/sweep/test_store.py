"""The output folder: whole results or none, and one sweep at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.sweep.store import Store

ROOT = Path(__file__).resolve().parents[2]
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
    code = (
        "import os, sys; from pathlib import Path; from kcircuits.sweep.store import Store\n"
        "def fill(folder): (folder / 'row.json').write_text('half'); os.kill(os.getpid(), 9)\n"
        f"Store(Path(sys.argv[1])).jobs.put({KEY!r}, fill)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.out)], cwd=ROOT)
    assert done.returncode == -9
    assert store.jobs.get(KEY) is None and len(list((store.out / "scratch").iterdir())) == 1
    kept = store.scratch_of(KEY)
    kept.mkdir()
    store.clean()
    assert list((store.out / "scratch").iterdir()) == [kept]


def test_one_sweep_at_a_time(store):
    code = (
        "import sys; from pathlib import Path; from kcircuits.sweep.store import Store\n"
        "with Store(Path(sys.argv[1])).locked(): print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(store.out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(KCircuitsError, match=rf"another sweep is running .*process {holder.pid}\)"),
            store.locked(),
        ):
            pass
    finally:
        holder.kill()  # which frees the folder, too
        holder.communicate()
    with store.locked():
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
        Store(tmp_path / "file").locked(),
    ):
        pass
