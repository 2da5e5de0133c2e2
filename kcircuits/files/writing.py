"""Atomic writes of results, and checks before any work starts that a folder is writable."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from kcircuits.errors import KCircuitsError

# Temporary and final name of the files that `write_together` will rename.
_waiting: ContextVar[list[tuple[Path, Path]] | None] = ContextVar("waiting", default=None)


@contextmanager
def write_together() -> Iterator[None]:
    """Write several files as one transaction: all of them appear when the context ends, or none.

    All are written to temporary files first, so a full disk is noticed there. If anything raises, the
    temporary files are removed and the old files stay.

    Raises
    ------
    KCircuitsError
        If a file cannot be renamed at the end; the message lists those already in place.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_together():
    ...         write_atomically(Path(folder) / "circuit.json", "{}")
    ...         write_atomically(Path(folder) / "circuit.dot", "digraph {}")
    ...         print((Path(folder) / "circuit.json").exists())
    ...     print(sorted(path.name for path in Path(folder).iterdir()))
    False
    ['circuit.dot', 'circuit.json']
    """
    if _waiting.get() is not None:  # the outer context renames all
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
    """Write a file so that readers see the old or the new content, never a part.

    The content goes to a temporary file in the same folder, which is flushed to disk and renamed; within
    `write_together`, it is renamed at the end of that context. After any error or interrupt, the temporary
    file is removed and the old content stays.

    Parameters
    ----------
    path
        Where to write; the folder must exist. An existing regular file is replaced.
    content
        Text, written as UTF-8, or bytes.
    at_once
        Rename at once, also within `write_together`; for files that are not results, such as a checkpoint.

    Raises
    ------
    KCircuitsError
        If the file cannot be written: no such folder, no permission, disk full, or `path` is not a
        regular file.
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
    """Flush a file, or a folder's directory entries, to disk; raises OSError on failure."""
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
    """Check before any work starts that a file can be written; its folder must exist.

    Raises KCircuitsError if it cannot.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise KCircuitsError(f"cannot write {path}: it exists and is not a regular file")
    if not path.parent.is_dir():
        raise KCircuitsError(f"cannot write {path}: there is no folder {path.parent}")
    check_output_folder(path.parent)


def check_output_folder(path: str | Path) -> Path:
    """Create an output folder if it is missing, and check before any work starts that it is writable.

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
            # Write some bytes, because a full disk still creates empty files.
            probe.write_bytes(b"kcircuits")
        finally:
            probe.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise KCircuitsError(f"cannot write into the output folder {folder}: {_reason(error)}") from error
    return folder


def _replace(path: Path, data: bytes, waiting: list[tuple[Path, Path]] | None) -> None:
    temporary = _temporary(path.parent)
    # "x": never open a file that someone else created there; the mode follows the umask.
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
    # Not derived from the final name, which may already have the file system's maximum length.
    return folder / f".kcircuits-{secrets.token_hex(8)}.tmp"


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
