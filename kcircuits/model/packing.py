"""A loaded model as plain arrays that several processes can read in place."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec, map_leaves


@dataclass(frozen=True)
class Piece:
    """A tensor as a view of a numbered storage; `offset` and `stride` count elements."""

    storage: int
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class PackedModel:
    """A model whose `spec` has a `Piece` for every tensor; `storages` are their bytes, uint8 [n] each.

    Pickled with protocol 5, the storages are buffers outside the pickle.
    """

    spec: Any
    storages: tuple[NDArray[np.uint8], ...]
    tokenizer: Any
    identity: dict[str, Any]


def pack_model(model: Model) -> PackedModel:
    """The model, on the CPU, as arrays that share its memory; each storage appears once, even if tied."""
    numbers: dict[tuple[int, int], int] = {}
    storages: list[NDArray[np.uint8]] = []

    def piece(tensor: Tensor, _: str) -> Piece:
        storage = tensor.untyped_storage()
        place = storage.data_ptr(), storage.nbytes()
        if place not in numbers:
            numbers[place] = len(storages)
            storages.append(torch.empty(0, dtype=torch.uint8).set_(storage).numpy())
        return Piece(
            numbers[place], tensor.dtype, int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride()
        )

    spec = map_leaves(model.spec, Tensor, piece)
    return PackedModel(spec, tuple(storages), model.tokenizer, model.identity)


def unpack_model(pack: PackedModel) -> Model:
    """Rebuild the model with tensors that are views of the arrays, which may be read-only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        storages = [torch.from_numpy(array).untyped_storage() for array in pack.storages]

    def tensor(piece: Piece, _: str) -> Tensor:
        empty = torch.empty(0, dtype=piece.dtype)
        return empty.set_(storages[piece.storage], piece.offset, piece.shape, piece.stride)

    spec: ModelSpec = map_leaves(pack.spec, Piece, tensor)
    return Model(spec, pack.tokenizer, pack.identity)
