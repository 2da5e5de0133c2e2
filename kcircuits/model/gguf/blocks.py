"""Convert the blocks of a GGUF tensor to `QuantisedWeight` with the same codes and scales.

The file stores a row in blocks of 32 (Q4_0 … Q8_0) or 256 numbers (the "K" types): the scales of a block,
and its codes in an order that depends on the type. In each group of a
block, every type here is scale · (code − zero) + offset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.quantised import QuantisedWeight, Weight, pack_codes

Bytes = NDArray[np.uint8]


class _Blocks(NamedTuple):
    """N blocks: codes int8 or uint8 [N, G, group]; scale and offset [N, G]; factors of these [N, 1]."""

    codes: NDArray[np.integer]
    scale: NDArray[np.generic]
    offset: NDArray[np.generic] | None = None
    block_scale: NDArray[np.float16] | None = None
    block_offset: NDArray[np.float16] | None = None
    zero: int = 0


def stored_weight(data: NDArray[np.generic], kind: str) -> Weight:
    """Convert a matrix of a GGUF file without dequantising it.

    Parameters
    ----------
    data
        Data from `gguf.GGUFReader`: bytes [N, bytes per row], or numbers [N, K].
    kind
        Name of its type, such as "Q4_K"; "F32", "F16" and "BF16" become a tensor.

    Raises
    ------
    KCircuitsError
        If the type is not in `TYPES`.
    """
    if kind == "BF16":
        return torch.from_numpy(data.copy()).view(torch.bfloat16)
    if kind in ("F32", "F16"):
        return torch.from_numpy(data.copy())
    if kind not in _READERS:
        raise KCircuitsError(
            f"blocks of the type {kind} cannot be kept as stored; known: {', '.join(TYPES)}. "
            "Load the file with --dtype float32, q8 or q4"
        )
    size, read = _READERS[kind]
    blocks = read(data.reshape(-1, size).view(np.uint8))
    return _weight(blocks, len(data))


def _weight(blocks: _Blocks, rows: int) -> QuantisedWeight:
    group = blocks.codes.shape[-1]

    def by_row(values: NDArray[np.generic] | None) -> Tensor | None:
        return None if values is None else torch.from_numpy(values.reshape(rows, -1).copy())

    codes = torch.from_numpy(blocks.codes).reshape(rows, -1, group)
    scale = by_row(blocks.scale)
    assert scale is not None
    return QuantisedWeight(
        pack_codes(codes) if codes.dtype == torch.uint8 else codes.flatten(1),
        scale,
        columns=codes.shape[1] * group,
        zero=blocks.zero,
        group=group,
        offset=by_row(blocks.offset),
        block_scale=by_row(blocks.block_scale),
        block_offset=by_row(blocks.block_offset),
    )


def _half(block: Bytes, first: int) -> NDArray[np.float16]:
    """The float16 at an offset in every block, [N, 1]."""
    return np.ascontiguousarray(block[:, first : first + 2]).view(np.float16)


def _bits(packed_bytes: Bytes, width: int, places: int) -> Bytes:
    """Split every byte into fields of `width` bits, the lowest first: [N, bytes] -> [N, places, bytes]."""
    shifts = np.arange(places, dtype=np.uint8) * width
    return (packed_bytes[:, None, :] >> shifts[None, :, None]) & np.uint8(2**width - 1)


def _halves(packed_bytes: Bytes) -> Bytes:
    """16 bytes of a block of 32: their low halves, then their high ones, [N, 1, 32]."""
    return _bits(packed_bytes, 4, 2).reshape(-1, 1, 32)


def _fifth_bits(block: Bytes, first: int) -> Bytes:
    """32 bits of every block of 32, as 0 or 16, [N, 1, 32]."""
    bits: Bytes = np.unpackbits(block[:, first : first + 4], axis=1, bitorder="little")[:, None, :]
    return bits << np.uint8(4)


def _q4_0(block: Bytes) -> _Blocks:
    return _Blocks(_halves(block[:, 2:18]), _half(block, 0), zero=8)


def _q4_1(block: Bytes) -> _Blocks:
    return _Blocks(_halves(block[:, 4:20]), _half(block, 0), _half(block, 2))


def _q5_0(block: Bytes) -> _Blocks:
    codes = _halves(block[:, 6:22]) | _fifth_bits(block, 2)
    return _Blocks(codes.astype(np.int8) - np.int8(16), _half(block, 0))


def _q5_1(block: Bytes) -> _Blocks:
    codes = _halves(block[:, 8:24]) | _fifth_bits(block, 4)
    return _Blocks(codes.astype(np.int8), _half(block, 0), _half(block, 2))


def _q8_0(block: Bytes) -> _Blocks:
    return _Blocks(block[:, None, 2:34].copy().view(np.int8), _half(block, 0))


def _q2_k(block: Bytes) -> _Blocks:
    scales = block[:, :16]
    quarters = [_bits(block[:, 16 + 32 * i : 48 + 32 * i], 2, 4) for i in range(2)]  # [N, 4, 32] each
    codes = np.concatenate(quarters, axis=1).reshape(-1, 16, 16)
    return _Blocks(codes, scales & 15, scales >> 4, _half(block, 80), -_half(block, 82))


def _q3_k(block: Bytes) -> _Blocks:
    quarters = [_bits(block[:, 32 + 32 * i : 64 + 32 * i], 2, 4) for i in range(2)]
    low = np.concatenate(quarters, axis=1)  # [N, 8, 32]
    high = _bits(block[:, :32], 1, 8)  # for each of the eight runs of 32: set if 4 is not subtracted
    low_scales = _bits(block[:, 96:104], 4, 2).reshape(-1, 16)
    high_scales = _bits(block[:, 104:108], 2, 4).reshape(-1, 16)
    scales = (low_scales | high_scales << 4).astype(np.int8) - np.int8(32)
    codes = (low | high << 2).reshape(-1, 16, 16)
    return _Blocks(codes, scales, block_scale=_half(block, 108), zero=4)


def _scales_and_mins(packed_bytes: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales and eight mins of 6 bits in 12 bytes, each [N, 8]."""
    first, second, last = packed_bytes[:, :4], packed_bytes[:, 4:8], packed_bytes[:, 8:]
    scales = np.concatenate([first & 63, (last & 15) | (first >> 6) << 4], axis=1)
    mins = np.concatenate([second & 63, (last >> 4) | (second >> 6) << 4], axis=1)
    return scales, mins


def _q4_k(block: Bytes) -> _Blocks:
    scales, mins = _scales_and_mins(block[:, 4:16])
    halves = [_bits(block[:, 16 + 32 * i : 48 + 32 * i], 4, 2) for i in range(4)]  # [N, 2, 32] each
    return _Blocks(np.concatenate(halves, axis=1), scales, mins, _half(block, 0), -_half(block, 2))


def _q5_k(block: Bytes) -> _Blocks:
    scales, mins = _scales_and_mins(block[:, 4:16])
    halves = [_bits(block[:, 48 + 32 * i : 80 + 32 * i], 4, 2) for i in range(4)]
    codes = np.concatenate(halves, axis=1) | _bits(block[:, 16:48], 1, 8) << 4
    return _Blocks(codes.astype(np.int8), scales, mins, _half(block, 0), -_half(block, 2))


def _q6_k(block: Bytes) -> _Blocks:
    parts = []
    for i in range(2):  # of 128 numbers each
        low = _bits(block[:, 64 * i : 64 * i + 64], 4, 2).reshape(-1, 4, 32)
        high = _bits(block[:, 128 + 32 * i : 160 + 32 * i], 2, 4)
        parts.append(low | high << 4)
    codes = np.concatenate(parts, axis=1).reshape(-1, 16, 16).astype(np.int8) - np.int8(32)
    scales = block[:, 192:208].copy().view(np.int8)
    return _Blocks(codes, scales, block_scale=_half(block, 208))


# Bytes of a block, and how it is read.
_READERS: dict[str, tuple[int, Callable[[Bytes], _Blocks]]] = {
    "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1),
    "Q5_0": (22, _q5_0),
    "Q5_1": (24, _q5_1),
    "Q8_0": (34, _q8_0),
    "Q2_K": (84, _q2_k),
    "Q3_K": (110, _q3_k),
    "Q4_K": (144, _q4_k),
    "Q5_K": (176, _q5_k),
    "Q6_K": (210, _q6_k),
}

TYPES = ("F32", "F16", "BF16", *_READERS)
"""Types of tensors that can be kept as stored."""
