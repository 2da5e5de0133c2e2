"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.files.writing import check_output_folder, write_atomically, write_together


@pytest.mark.parametrize(
    ("content", "stored"), [("τ = 0.01\n", "τ = 0.01\n".encode()), (b"\x00\xff", b"\x00\xff"), ("", b"")]
)
def test_writes_and_replaces(tmp_path, content, stored):
    path = tmp_path / "result.json"
    path.write_text("old")
    write_atomically(path, content)
    assert path.read_bytes() == stored
    assert list(tmp_path.iterdir()) == [path]


def test_mode_follows_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "result", "text")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "result").stat().st_mode) == 0o640


def test_longest_name(tmp_path):
    write_atomically(tmp_path / ("x" * 255), "text")
    assert (tmp_path / ("x" * 255)).read_text() == "text"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failure, step):
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail(*_):
        raise failure

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(KCircuitsError if isinstance(failure, OSError) else KeyboardInterrupt) as error:
        write_atomically(path, "new")
    if isinstance(failure, OSError):
        assert str(error.value) == f"cannot write {path}: No space left on device"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_that_is_not_unicode(tmp_path):
    with pytest.raises(KCircuitsError, match="cannot write"):
        write_atomically(tmp_path / "result", "\ud800")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/result", "file/result", "folder", "pipe", "bad\0name"])
def test_unwritable_places(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KCircuitsError, match="cannot write"):
        write_atomically(tmp_path / name, "text")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["", "new", "new/and/deeper"])
def test_output_folder_is_made_and_left_empty(tmp_path, name):
    folder = check_output_folder(tmp_path / name)
    assert folder == tmp_path / name
    assert list(folder.iterdir()) == []
    check_output_folder(folder)


@pytest.mark.parametrize("name", ["file", "file/folder", "bad\0name"])
def test_output_folder_that_cannot_be(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(KCircuitsError, match="cannot write into the output folder"):
        check_output_folder(tmp_path / name)


def test_output_folder_on_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(KCircuitsError, match="No space left on device"):
        check_output_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(KCircuitsError, match="Permission denied"):
        check_output_folder(tmp_path)
    with pytest.raises(KCircuitsError, match="Permission denied"):
        write_atomically(tmp_path / "result", "text")


def test_together_in_the_end(tmp_path):
    (tmp_path / "a").write_text("old")
    with write_together():
        write_atomically(tmp_path / "a", "new")
        with write_together():  # within another, that one counts
            write_atomically(tmp_path / "b", "new")
        write_atomically(tmp_path / "checkpoint", "now", at_once=True)
        assert (tmp_path / "a").read_text() == "old"
        assert not (tmp_path / "b").exists()
        assert (tmp_path / "checkpoint").read_text() == "now"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "checkpoint"]
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "new"
    write_atomically(tmp_path / "c", "at once")
    assert (tmp_path / "c").read_text() == "at once"


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()]
)
def test_together_or_not_at_all(tmp_path, monkeypatch, failure):
    (tmp_path / "a").write_text("old")
    real, count = os.fsync, []

    def full_at_the_second(descriptor):
        count.append(descriptor)
        if len(count) == 2:
            raise failure
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else KCircuitsError
    with pytest.raises(expected), write_together():
        write_atomically(tmp_path / "a", "new")
        write_atomically(tmp_path / "b", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_move_that_fails_says_what_is_there(tmp_path):
    with pytest.raises(KCircuitsError) as error, write_together():
        write_atomically(tmp_path / "a", "new")
        write_atomically(tmp_path / "b", "new")
        (tmp_path / "b").mkdir()  # by somebody else, in between
    assert str(error.value).startswith(f"cannot write {tmp_path / 'b'}: ")
    assert str(error.value).endswith(f"; written before it: {tmp_path / 'a'}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
