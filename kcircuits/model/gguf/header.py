"""Check the header of a GGUF file before libraries that trust it read it.

Libraries do not check lengths: they would read a list that claims 2⁶⁰ numbers until the memory is full, and
build a model with any number of layers.
"""

from __future__ import annotations

import mmap
import struct
from math import prod
from pathlib import Path

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.runtime.optional import need

# By GGUF's type number; 8 is text and 9 is a list.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_MOST_DIMS = 4
_DEEPEST = 4
_LONGEST_KEY = 1000
_LONGEST_LIST = 2**24
"""Maximum length of a list: far more tokens than any vocabulary has."""


def check_header(file: Path) -> int:
    """Check that everything that the header of a GGUF file describes is inside the file.

    Returns
    -------
    int
        Total number of elements of its tensors.

    Raises
    ------
    KCircuitsError
        If a length, a number of dimensions, a type or the offset of a tensor is invalid, or the file has
        fewer tensors than layers.
    """
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Header(data).check()
    except KCircuitsError as error:
        raise KCircuitsError(f"{file} is not a whole GGUF file: {error}") from error
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise KCircuitsError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error


class _Header:
    """A reader of the header; `place` is its position in bytes."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.place = 4  # after the magic bytes
        self.order = "<"
        self.alignment = 32
        self.layers = 0
        self.is_part = False

    def check(self) -> int:
        # Versions are small numbers: if the low half is 0, the file has the other byte order.
        if self.data[4:6] == b"\0\0":
            raise KCircuitsError("it is big-endian; convert it with gguf_convert_endian.py of llama.cpp")
        if (version := self.number("I")) not in (2, 3):
            raise KCircuitsError(f"it has GGUF version {version}, not 2 or 3; convert it again")
        tensors, entries = self.number("Q"), self.number("Q")
        for _ in range(entries):
            self.entry()
        if self.layers > tensors and not self.is_part:
            raise KCircuitsError(f"it has {tensors} tensors, too few for {self.layers} layers")
        places = [self.tensor() for _ in range(tensors)]
        start = -(-self.place // self.alignment) * self.alignment
        for name, offset, size, _ in places:
            if start + offset + size > len(self.data):
                raise KCircuitsError(f"the tensor {quote(name)} extends beyond the end of the file")
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
        """Read a value; returns a number, or None for texts and lists, which are skipped."""
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
            raise KCircuitsError(f"{quote(key)} has an unknown type, or too many nested lists")
        return None

    def tensor(self) -> tuple[str, int, int, int]:
        """Name, offset after the header, bytes and number of elements of a tensor."""
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
            raise KCircuitsError(f"the tensor {quote(name)} has the unknown type {kind}") from None
        return name, offset, prod(dims) // block * size, prod(dims)

    def text(self) -> str:
        """Read a key or a name."""
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
