"""The safetensors file of a score matrix: its format, and strict reading.

One float32 tensor `scores` [senders, receivers], 0 where there is no edge. Header metadata: `format`, then as
JSON `senders` and `receivers` (lists of names), `model` (an object), `method` (a string) and `settings` (an
object).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import check_format, check_regular, dump_json, parse_json, quote
from kcircuits.files.tensor_files import tensor_bytes

FORMAT = "kcircuits-scores/1"
TENSOR = "scores"

_TYPES: dict[str, tuple[type, str]] = {
    "senders": (list, "a list"),
    "receivers": (list, "a list"),
    "model": (dict, "an object"),
    "method": (str, "a string"),
    "settings": (dict, "an object"),
}
_WHAT = "file of scores"


def to_bytes(matrix: np.ndarray, metadata: dict[str, Any]) -> bytes:
    """The content of a file of scores.

    Parameters
    ----------
    matrix
        Scores, float32 [S, R].
    metadata
        Values of all keys of the format except `format`.

    Raises
    ------
    KCircuitsError
        If a value cannot be written as JSON.
    """
    header = {key: dump_json(metadata[key], key, _WHAT) for key in _TYPES}
    return tensor_bytes({TENSOR: np.ascontiguousarray(matrix)}, {"format": FORMAT} | header)


@contextmanager
def open_scores(path: str | Path) -> Iterator[tuple[dict[str, Any], Callable[[tuple[int, ...]], np.ndarray]]]:
    """Open a file of scores.

    Yields
    ------
    metadata, read_matrix
        The checked metadata without `format`, and a function that reads the matrix if its shape in the
        header is the expected one, so that a wrong file is never read completely.

    Raises
    ------
    KCircuitsError
        If the file cannot be read or is not a file of scores.
    """
    check_regular(path, _WHAT)
    try:
        with safe_open(path, framework="np") as file:

            def read_matrix(shape: tuple[int, ...]) -> np.ndarray:
                _check_tensor(file, shape)
                matrix: np.ndarray = file.get_tensor(TENSOR)
                return matrix

            yield _check_metadata(file.metadata() or {}), read_matrix
    except SafetensorError as error:
        raise KCircuitsError(f"not a safetensors file: {quote(str(error))}") from error
    except OSError as error:
        raise KCircuitsError(f"cannot read the {_WHAT}: {error.strerror or error}") from error


def _check_metadata(header: dict[str, str]) -> dict[str, Any]:
    check_format(header.get("format"), FORMAT, _WHAT)
    metadata = {}
    for key, (kind, article) in _TYPES.items():
        if key not in header:
            raise KCircuitsError(f"not a {_WHAT}: the metadata {key!r} is missing")
        value = parse_json(header[key], _WHAT)
        if not isinstance(value, kind):
            raise KCircuitsError(f"the metadata {key!r} must be {article}, got {quote(value)}")
        metadata[key] = value
    return metadata


def _check_tensor(file: Any, shape: tuple[int, ...]) -> None:
    names = sorted(file.keys())
    if names != [TENSOR]:
        raise KCircuitsError(f"not a {_WHAT}: expected one tensor {TENSOR!r}, got {quote(names)}")
    tensor = file.get_slice(TENSOR)
    if tensor.get_dtype() != "F32" or tuple(tensor.get_shape()) != shape:
        got = f"{tensor.get_dtype()} {list(tensor.get_shape())}"
        raise KCircuitsError(f"the tensor {TENSOR!r} must be F32 {list(shape)}, got {got}")
