"""Writing results: whole or not at all, and never after hours of work into a folder that refuses them."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from kcircuits.errors import KCircuitsError


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file so that readers see the old content or the new one, never a part.

    The content goes to a temporary name in the same folder, is flushed to disk and renamed. Whatever goes
    wrong, an interrupt included, the temporary file is removed and the old content stays.

    Parameters
    ----------
    path
        Where to write; the folder must exist. An existing regular file is replaced.
    content
        Text, written as UTF-8, or bytes.

    Raises
    ------
    KCircuitsError
        If the place cannot be written: no such folder, no permission, disk full, or `path` is something
        other than a regular file.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise KCircuitsError(f"cannot write {path}: it exists and is not a regular file")
        _replace(path, content.encode() if isinstance(content, str) else content)
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


def _replace(path: Path, data: bytes) -> None:
    temporary = _temporary(path.parent)
    # "x": a file that somebody else put there is never opened; the mode follows the umask.
    stream = temporary.open("xb")
    try:
        with stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(folder: Path) -> Path:
    # Not derived from the final name, which may already have the longest length a file system takes.
    return folder / f".kcircuits-{secrets.token_hex(8)}.tmp"


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
