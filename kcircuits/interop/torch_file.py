"""Read `torch.save` files that hold only tensors and plain data; no code in them is ever run."""

from __future__ import annotations

import pickle
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote, read_head
from kcircuits.files.kinds import HEAD_BYTES, is_torch_file


def is_saved_by_torch(path: str | Path, what: str) -> bool:
    """Whether a file begins like one of `torch.save`; raises KCircuitsError if it cannot be read."""
    return is_torch_file(read_head(path, what, HEAD_BYTES))


def load_plain(path: str | Path, what: str) -> object:
    """Read the content of a `torch.save` file on the CPU.

    Creates only tensors, numbers, texts, lists, tuples and dicts (`torch.load(weights_only=True)`).

    Raises
    ------
    KCircuitsError
        If the file is damaged, compressed or another kind of archive, or holds anything else, such as
        objects of a class, whose creation would run code.
    """
    _check_archive(Path(path), what)
    import torch  # imported late, because most files do not need it

    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise KCircuitsError(
            f"not a {what} that can be read: it holds objects other than tensors and plain data, which "
            f"could run code, so it is not loaded ({quote(_first_line(error))}): save tensors and lists"
        ) from error
    except Exception as error:  # torch raises errors of many types for damaged files
        raise KCircuitsError(
            f"not a {what}: torch.load cannot read it ({quote(_first_line(error))})"
        ) from error
    return content


def _check_archive(path: Path, what: str) -> None:
    """Refuse compressed archives: `torch.save` writes none, and a small one could become a large tensor."""
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
    except (BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError):
        return  # the older format, or damaged: torch.load will report it
    if not any(entry.filename.endswith("data.pkl") for entry in entries):
        raise KCircuitsError(f"not a {what}: the file is a zip archive, but not one of torch.save: unpack it")
    if any(entry.compress_type != ZIP_STORED for entry in entries):
        raise KCircuitsError(f"not a {what}: the file is compressed, but those of torch.save never are")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise KCircuitsError(f"not a {what}: its parts overlap or are larger than the file")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = next((line for line in lines if "Unsupported" in line or "GLOBAL" in line), None)
    return named or (lines[0] if lines else type(error).__name__)
