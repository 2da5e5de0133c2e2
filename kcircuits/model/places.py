"""The place of each tensor of a specification in the model's files.

Most are views of a stored tensor, recognised by their address in memory. Some families split a tensor in a
way that copies it (GPT-NeoX's fused queries, keys and values), and Transformers stacks experts that are
stored one by one; these are found by their rows. The other tensors, such as rotary angles, are computed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor


@dataclass(frozen=True)
class View:
    """A view of the stored tensor `name`; offset and strides in elements, as in `as_strided`."""

    name: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """Rows (or elements of a vector) of the stored tensor `name`; `order` names the list of their indices."""

    name: str
    order: str


@dataclass(frozen=True)
class Value:
    """A tensor that is cached itself, under `name`."""

    name: str


Place = View | Rows | Value


class StoredTensors:
    """Stored tensors, by address and by row.

    Parameters
    ----------
    tensors
        Name -> contiguous tensor; scalars and empty tensors are not weights and are skipped.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = {name: tensor for name, tensor in tensors.items() if tensor.ndim and tensor.numel()}
        self._names = sorted(self.tensors, key=lambda name: self.tensors[name].data_ptr())
        self._starts = [self.tensors[name].data_ptr() for name in self._names]

    def view(self, tensor: Tensor) -> View | None:
        """The place of a tensor that shares a stored one's memory, or None."""
        at = bisect_right(self._starts, tensor.data_ptr()) - 1
        if at < 0 or not tensor.numel():
            return None
        name = self._names[at]
        source = self.tensors[name]
        offset, rest = divmod(tensor.data_ptr() - source.data_ptr(), source.itemsize)
        place = View(name, offset, tuple(tensor.shape), tensor.stride())
        return place if tensor.dtype == source.dtype and not rest and is_within(place, source) else None

    def rows(self, tensors: list[Tensor], names: set[str]) -> list[tuple[str, list[int]] | None]:
        """For each tensor, the stored tensor among `names` that has its rows, and their indices, or None."""
        places: dict[bytes, dict[str, int]] = {}
        for name in sorted(names & self.tensors.keys()):
            for index, row in enumerate(_row_digests(self.tensors[name])):
                places.setdefault(row, {}).setdefault(name, index)
        return [_rows_of_one(list(_row_digests(tensor)), places) for tensor in tensors]


def is_within(view: View, source: Tensor) -> bool:
    """Whether all elements of a view are in the tensor."""
    last = view.offset + sum((size - 1) * step for size, step in zip(view.shape, view.stride, strict=True))
    return last < source.numel()


def _rows_of_one(rows: list[bytes], places: dict[bytes, dict[str, int]]) -> tuple[str, list[int]] | None:
    for name in places.get(rows[0], {}) if rows else ():
        order = [places.get(row, {}).get(name) for row in rows]
        found = [index for index in order if index is not None]
        if len(found) == len(order):
            return name, found
    return None


def _row_digests(tensor: Tensor) -> Iterator[bytes]:
    kind = f"{tensor.dtype} {list(tensor.shape[1:])}".encode()
    for row in tensor.detach().contiguous().view(len(tensor), -1).view(torch.uint8).numpy():
        yield blake2b(row.data, digest_size=16, key=blake2b(kind, digest_size=16).digest()).digest()
