"""The header of a GGUF file, looked through before the libraries that trust it.

They take the lengths in it at their word: a list that claims 2⁶⁰ numbers is read until the memory is full,
and a model is built of as many layers as the file says.
"""

from __future__ import annotations

import mmap
import struct
from math import prod
from pathlib import Path

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.runtime.optional import need

# By GGUF's number of the type; 8 is text and 9 a list.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_MOST_DIMS = 4
_DEEPEST = 4
_LONGEST_KEY = 1000
_LONGEST_LIST = 2**24
"""Numbers or texts in one list: far more tokens than any vocabulary has."""


def check_header(file: Path) -> int:
    """Make sure that everything which a GGUF file's header describes is inside of the file.

    Returns
    -------
    int
        How many numbers its tensors have.

    Raises
    ------
    KCircuitsError
        If a length, a number of dimensions, a type or a tensor's place makes no sense, or the file has fewer
        tensors than layers.
    """
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Header(data).check()
    except KCircuitsError as error:
        raise KCircuitsError(f"{file} is not a whole GGUF file: {error}") from error
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise KCircuitsError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error


class _Header:
    """A walk through the header; `place` is where it is, in bytes."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.place = 4  # behind the magic
        self.order = "<"
        self.alignment = 32
        self.layers = 0
        self.is_part = False

    def check(self) -> int:
        # The version is small: where its low half is 0, it was written in the other byte order.
        if self.data[4:6] == b"\0\0":
            raise KCircuitsError("it is big-endian; write it again with gguf_convert_endian.py of llama.cpp")
        if (version := self.number("I")) not in (2, 3):
            raise KCircuitsError(f"it is of GGUF version {version}, and 2 and 3 are read; convert it again")
        tensors, entries = self.number("Q"), self.number("Q")
        for _ in range(entries):
            self.entry()
        if self.layers > tensors and not self.is_part:
            raise KCircuitsError(f"it has {tensors} tensors, which {self.layers} layers cannot do with")
        places = [self.tensor() for _ in range(tensors)]
        start = -(-self.place // self.alignment) * self.alignment
        for name, offset, size, _ in places:
            if start + offset + size > len(self.data):
                raise KCircuitsError(f"the tensor {quote(name)} reaches beyond its end")
        return sum(count for *_, count in places)

    def entry(self) -> None:
        key, kind = self.text(), self.number("I")
        value = self.value(key, kind, depth=0)
        if key == "general.alignment":
            if type(value) is not int or value <= 0 or value & (value - 1):
                raise KCircuitsError(f"the alignment must be a power of two, got {value}")
            self.alignment = value
        elif key == "split.count":
            self.is_part = value != 1
        elif key.endswith(".block_count") and type(value) is int:
            self.layers = max(self.layers, value)

    def value(self, key: str, kind: int, depth: int) -> int | float | bool | None:
        """A number; None for texts and lists, behind which the walk goes on."""
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _TEXT:
            self.skip(self.number("Q"))
        elif kind == _LIST and depth < _DEEPEST:
            inner, length = self.number("I"), self.number("Q")
            if length > _LONGEST_LIST:
                raise KCircuitsError(f"the list {quote(key)} claims {length} entries")
            if inner in _NUMBERS:
                self.skip(length * struct.calcsize(_NUMBERS[inner]))
            else:
                for _ in range(length):
                    self.value(key, inner, depth + 1)
        else:
            raise KCircuitsError(f"{quote(key)} is of a type that is not known, or in too many lists")
        return None

    def tensor(self) -> tuple[str, int, int, int]:
        """Name, place behind the header, bytes and numbers of a tensor."""
        need("gguf", "GGUF files")
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name, num_dims = self.text(), self.number("I")
        if num_dims > _MOST_DIMS:
            raise KCircuitsError(f"the tensor {quote(name)} claims {num_dims} dimensions")
        dims = [self.number("Q") for _ in range(num_dims)]
        kind, offset = self.number("I"), self.number("Q")
        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise KCircuitsError(
                f"the tensor {quote(name)} is of the type {kind}, which is not known"
            ) from None
        return name, offset, prod(dims) // block * size, prod(dims)

    def text(self) -> str:
        """A key or a name."""
        length = self.number("Q")
        if length > _LONGEST_KEY:
            raise KCircuitsError(f"a name claims {length} characters")
        start = self.place
        self.skip(length)
        return self.data[start : self.place].decode("utf-8", errors="replace")

    def number(self, kind: str) -> int:
        start = self.place
        self.skip(struct.calcsize(kind))
        value: int = struct.unpack_from(self.order + kind, self.data, start)[0]
        return value

    def skip(self, length: int) -> None:
        self.place += length
        if self.place > len(self.data):
            raise KCircuitsError("it ends in the middle of its header")
