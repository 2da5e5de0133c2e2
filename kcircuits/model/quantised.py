"""A weight stored as 4- or 8-bit codes and dequantised for each product, never for a whole model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from kcircuits._native import C
from kcircuits.errors import KCircuitsError

PART = 2**22
"""Number of matrix elements rounded at a time."""

GROUPS = (16, 32)
"""Numbers of codes that may share a scale."""


@dataclass(frozen=True, eq=False)
class QuantisedWeight:
    """A matrix [N, K] whose element is `scale * (code - zero) + offset`, in float32.

    Each group of `group` consecutive codes of a row has a scale and, if there are any, an offset. K need not
    be a multiple of `group`; the last group of a row is then padded.

    Parameters
    ----------
    codes
        uint8 [N, G * group / 2], two codes of 4 bits per byte: the low halves of a group's bytes are its
        first codes, the high halves the others. 8-bit codes are int8 [N, G * group].
    scale, offset
        [N, G], floating or, if there are block factors, integer; offset may be None.
    columns
        K.
    zero
        The code for 0, before the offset. 0 for codes of 8 bits.
    group
        One of `GROUPS`.
    block_scale, block_offset
        [N, B] or None: factors of the scales and offsets of G / B groups each, as in the "K" types of
        GGUF.
    """

    codes: Tensor
    scale: Tensor
    columns: int
    zero: int = 0
    group: int = 32
    offset: Tensor | None = None
    block_scale: Tensor | None = None
    block_offset: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        """(N, K)."""
        return torch.Size((self.codes.shape[0], self.columns))

    @property
    def device(self) -> torch.device:
        """Device of the codes."""
        return self.codes.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the dequantised numbers: float32."""
        return torch.float32

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Dequantised rows, float32 [..., K], for a slice of rows or for ids of any shape."""
        if isinstance(rows, slice):
            return self._map(lambda part: part[rows]).dequantise()
        picked = self._map(lambda part: part[rows.reshape(-1)])
        return picked.dequantise().view(*rows.shape, self.columns)

    def dequantise(self) -> Tensor:
        """The dequantised matrix, float32 [N, K]."""
        dense: Tensor = C.dequantise(self)
        return dense

    def rows(self, indices: Tensor | slice) -> QuantisedWeight:
        """Rows as codes, in the order of `indices`; a slice shares memory."""
        return self._map(lambda part: part[indices])

    def to(self, device: torch.device | str) -> QuantisedWeight:
        """The same codes on another device."""
        return self._map(lambda part: part.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> QuantisedWeight:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {
            name: change(value) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **changed)


Weight: TypeAlias = Tensor | QuantisedWeight
"""A matrix of a model."""


def dense(weight: Weight) -> Tensor:
    """A weight as a tensor: the tensor itself, or a dequantised copy."""
    return weight.dequantise() if isinstance(weight, QuantisedWeight) else weight


def linear(x: Tensor, weight: Weight, bias: Tensor | None) -> Tensor:
    """`torch.nn.functional.linear` for any kind of weight."""
    return functional.linear(x, dense(weight), bias)


def quantise(values: Tensor, bits: int) -> QuantisedWeight:
    """Round a matrix to codes in groups of 32 along its rows.

    8 bits: GGUF's Q8_0, codes −127 … 127 times a scale, the largest magnitude of a group / 127. 4 bits:
    GGUF's Q4_1, codes 0 … 15 times a scale plus an offset, (largest − smallest) / 15 and the smallest number
    of the group. Scales and offsets are stored in float16, and codes are rounded to nearest for the stored
    scale.

    Parameters
    ----------
    values
        Floating [N, K], any strides; all finite.
    bits
        8 or 4.

    Raises
    ------
    KCircuitsError
        If a group's scale or offset is beyond float16.
    """
    parts = [_quantise_rows(rows, bits) for rows in values.split(max(1, PART // values.shape[1]))]
    codes, scale, offset = (torch.cat(same) for same in zip(*parts, strict=True))
    return QuantisedWeight(codes, scale, values.shape[1], offset=offset if bits == 4 else None)


def _quantise_rows(values: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scale and offset (empty for 8 bits) of a `PART` of a matrix, as described in `quantise`."""
    padding = -values.shape[1] % 32
    # Repeating the last number does not change the range of the last group.
    padded = functional.pad(values.float()[None], (0, padding), mode="replicate")[0]
    groups = padded.unflatten(1, (-1, 32))  # [N, G, 32]
    if bits == 8:
        scale = _to_half(groups.abs().amax(dim=-1) / 127)
        return _codes(groups, scale).clamp(-127, 127).to(torch.int8).flatten(1), scale, scale[:, :0]
    smallest, largest = groups.aminmax(dim=-1)
    offset, scale = _to_half(smallest), _to_half((largest - smallest) / 15)
    nibbles = _codes(groups - offset.float()[..., None], scale).clamp(0, 15).to(torch.uint8)
    return pack_codes(nibbles), scale, offset


def pack_codes(nibbles: Tensor) -> Tensor:
    """Pack codes 0 … 15, uint8 [N, G, group], as in `QuantisedWeight.codes`, [N, G * group / 2]."""
    low, high = nibbles.chunk(2, dim=-1)
    return (low | high << 4).flatten(1)


def _to_half(scale: Tensor) -> Tensor:
    narrow = scale.half()
    if not narrow.isfinite().all():
        largest = float(scale.abs().max())
        raise KCircuitsError(
            f"weights cannot be quantised: a scale of {largest:g} is beyond float16's largest number, 65504"
        )
    return narrow


def _codes(groups: Tensor, scale: Tensor) -> Tensor:
    """The groups [N, G, 32] in units of their scales [N, G], rounded; 0 where the scale is 0."""
    wide = scale.float()
    inverse = torch.where(wide > 0, 1 / wide, 0)
    return (groups * inverse[..., None]).round()
