"""Writing results: whole or not at all, and never after hours of work into a folder that refuses them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from kcircuits.errors import KCircuitsError

# Temporary file and final name of what `written_together` waits to move.
_waiting: ContextVar[list[tuple[Path, Path]] | None] = ContextVar("waiting", default=None)


@contextmanager
def written_together() -> Iterator[None]:
    """Let the files that are written inside come into place together at its end, or none of them.

    All are written under temporary names first, which is where a disk is found to be full. Where anything
    raises, the temporary files are removed and what was there before stays.

    Raises
    ------
    KCircuitsError
        If a file cannot be moved into place in the end; the message says which are in place already.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with written_together():
    ...         write_atomically(Path(folder) / "circuit.json", "{}")
    ...         write_atomically(Path(folder) / "circuit.dot", "digraph {}")
    ...         print((Path(folder) / "circuit.json").exists())
    ...     print(sorted(path.name for path in Path(folder).iterdir()))
    False
    ['circuit.dot', 'circuit.json']
    """
    if _waiting.get() is not None:  # an outer one moves all
        yield
        return
    waiting: list[tuple[Path, Path]] = []
    token = _waiting.set(waiting)
    try:
        yield
        _move(waiting)
    finally:
        _waiting.reset(token)
        for temporary, _ in waiting:
            temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, content: str | bytes, *, at_once: bool = False) -> None:
    """Write a file so that readers see the old content or the new one, never a part.

    The content goes to a temporary name in the same folder, is flushed to disk and renamed; within
    `written_together`, it is renamed at the end of that. Whatever goes wrong, an interrupt included, the
    temporary file is removed and the old content stays.

    Parameters
    ----------
    path
        Where to write; the folder must exist. An existing regular file is replaced.
    content
        Text, written as UTF-8, or bytes.
    at_once
        Rename at once, also within `written_together`: for what is no result, such as a checkpoint.

    Raises
    ------
    KCircuitsError
        If the place cannot be written: no such folder, no permission, disk full, or `path` is something
        other than a regular file.
    """
    path = Path(path)
    waiting = None if at_once else _waiting.get()
    try:
        if path.exists() and not path.is_file():
            raise KCircuitsError(f"cannot write {path}: it exists and is not a regular file")
        _replace(path, content.encode() if isinstance(content, str) else content, waiting)
    except (OSError, ValueError) as error:
        if isinstance(error, KCircuitsError):
            raise
        raise KCircuitsError(f"cannot write {path}: {_reason(error)}") from error


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk; raises OSError if it cannot be."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(waiting: list[tuple[Path, Path]]) -> None:
    moved: list[str] = []
    for temporary, path in waiting:
        try:
            temporary.replace(path)
        except OSError as error:
            there = f"; written before it: {', '.join(moved)}" if moved else ""
            raise KCircuitsError(f"cannot write {path}: {_reason(error)}{there}") from error
        moved.append(str(path))


def check_output_file(path: str | Path) -> None:
    """Prove, before any work starts, that a file can be written; its folder must exist.

    Raises KCircuitsError if it cannot.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise KCircuitsError(f"cannot write {path}: it exists and is not a regular file")
    if not path.parent.is_dir():
        raise KCircuitsError(f"cannot write {path}: there is no folder {path.parent}")
    check_output_folder(path.parent)


def check_output_folder(path: str | Path) -> Path:
    """Create an output folder if it is missing and prove, before any work starts, that it can be written.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    KCircuitsError
        If it cannot be created or written, or is a file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     check_output_folder(Path(parent) / "results" / "first").name
    'first'
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = _temporary(folder)
        try:
            # Some bytes, because a full disk still creates empty files.
            probe.write_bytes(b"kcircuits")
        finally:
            probe.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise KCircuitsError(f"cannot write into the output folder {folder}: {_reason(error)}") from error
    return folder


def _replace(path: Path, data: bytes, waiting: list[tuple[Path, Path]] | None) -> None:
    temporary = _temporary(path.parent)
    # "x": a file that somebody else put there is never opened; the mode follows the umask.
    stream = temporary.open("xb")
    try:
        with stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if waiting is None:
            temporary.replace(path)
        else:
            waiting.append((temporary, path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(folder: Path) -> Path:
    # Not derived from the final name, which may already have the longest length a file system takes.
    return folder / f".kcircuits-{secrets.token_hex(8)}.tmp"


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
