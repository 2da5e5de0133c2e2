"""Recognise by their first bytes files that are given where text is expected."""

from __future__ import annotations

import re

HEAD_BYTES = 64
"""Number of bytes that `foreign_kind` examines."""

_CONVERT = "write its content as text or JSON first"
_PICKLE = (
    "a Python pickle, which can run code and is never opened: "
    f"{_CONVERT} (docs/interop.md shows how, for a list of edges)"
)
# PyTorch's format before version 1.6: a pickle that begins with this number.
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_TORCH = "a file of torch.save (kcircuits convert reads those of EAP-IG and ACDC)"
_ZIP = b"PK\x03\x04"
_KINDS = (
    (rb"\x80[\x00-\x05]", _PICKLE),
    (rb"\x1f\x8b", "a gzip archive: unpack it first (gunzip)"),
    (rb"BZh[1-9]", "a bzip2 archive: unpack it first (bunzip2)"),
    (rb"\xfd7zXZ\x00", "an xz archive: unpack it first (unxz)"),
    (rb"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first (unzstd)"),
    (rb"[\s\S]{6}\x00\x00\{", "a safetensors file, as scores are: give those as --scores"),
    (rb"\x93NUMPY", f"a NumPy array: {_CONVERT}"),
    (rb"GGUF", "a GGUF model: give it as --model"),
    (rb"PAR1", f"a Parquet table: {_CONVERT}, such as CSV"),
    (rb"\x89HDF\r\n", f"an HDF5 file: {_CONVERT}"),
    (rb"SQLite format 3\x00", f"an SQLite database: {_CONVERT}"),
    (rb"%PDF-|\x89PNG\r\n|\xff\xd8\xff|GIF8", "a picture or a PDF"),
    (rb"\xff\xfe|\xfe\xff", "UTF-16 text: save it as UTF-8"),
)


def is_torch_file(head: bytes) -> bool:
    """Whether a file may be one of `torch.save`: a zip archive, or its older format."""
    return head.startswith((_ZIP, _OLD_TORCH))


def foreign_kind(head: bytes) -> str | None:
    """The kind of a file that begins with these bytes, and how to convert it; None if it may be text.

    Examples
    --------
    >>> foreign_kind(b"\\x1f\\x8b\\x08")
    'a gzip archive: unpack it first (gunzip)'
    >>> foreign_kind(b'{"format": "kcircuits/1"}') is None
    True
    """
    if head.startswith(_ZIP):
        return f"a zip archive or {_TORCH}"
    if head.startswith(_OLD_TORCH):
        return _TORCH
    return next((kind for pattern, kind in _KINDS if re.match(pattern, head)), None)
