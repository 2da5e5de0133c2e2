"""Rules that build each Hugging Face parameter from the rows of GGUF tensors.

Converters to GGUF rename tensors and rearrange their rows: they interleave the halves of rotated heads, split
fused matrices, stack experts. A `Source` undoes this. Its rule uses only rows, so it applies both to
dequantised numbers and to row numbers, which represent quantised matrices (`kcircuits.model.gguf.stored`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kcircuits.errors import KCircuitsError

if TYPE_CHECKING:
    from kcircuits.model.gguf.file import GgufFile

Rows = NDArray[np.generic]
"""[rows, C]: the rows of a matrix, or of a vector with C = 1."""


@dataclass(frozen=True)
class Sizes:
    """Numbers of query heads and of key/value heads, their width, and the number of experts (0: none)."""

    heads: int
    kv_heads: int
    head_dim: int
    experts: int = 0


Rule = Callable[[Sizes, Sequence[Rows]], Rows]


def as_is(_: Sizes, parts: Sequence[Rows]) -> Rows:
    """The rows of one tensor in the file's order."""
    (only,) = parts
    return only


@dataclass(frozen=True)
class Source:
    """The tensors of a parameter, and the rule that builds its rows from theirs.

    tensors: names, to which the `.weight` or `.bias` of the parameter is appended unless they have one.
    turned: whether the parameter is [..., in, out] and the file has [..., out, in]. add: a number that is
    added to every element. optional_bias: whether a bias that no layer has is zero.
    """

    tensors: tuple[str, ...]
    rule: Rule = as_is
    turned: bool = False
    add: float = 0.0
    optional_bias: bool = False


def source(*tensors: str, rule: Rule = as_is, turned: bool = False, add: float = 0.0) -> Source:
    """A source of one or more tensors."""
    return Source(tensors, rule, turned, add)


@dataclass(frozen=True)
class Names:
    """Parameters of a family: those outside of layers, and those of a layer after `layers` and its index."""

    layers: str
    outside: Mapping[str, Source]
    inside: Mapping[str, Source]

    def find(self, parameter: str) -> tuple[Source, tuple[str, ...]]:
        """The source of a parameter, and the full names of the file's tensors.

        Raises KCircuitsError if the table has no such parameter.
        """
        match = re.match(rf"{re.escape(self.layers)}\.(\d+)\.(.+)", parameter)
        table, name, prefix = (
            (self.outside, parameter, "") if match is None else (self.inside, match[2], f"blk.{match[1]}.")
        )
        if name in table:
            found = table[name]
            return found, tuple(prefix + tensor for tensor in found.tensors)
        stem, _, ending = name.rpartition(".")
        if stem not in table:
            raise KCircuitsError(f"no tensor of a GGUF file is known for the parameter {parameter!r}")
        found = table[stem]
        return found, tuple(f"{prefix}{tensor}.{ending}" for tensor in found.tensors)


def is_flat(parameter: str, dims: int) -> bool:
    """Whether a parameter has one number per row: a vector, or the stacked biases of experts."""
    return dims == 1 or parameter.endswith("bias")


def rearrange(found: Source, sizes: Sizes, parts: Sequence[Rows], shape: Sequence[int], flat: bool) -> Rows:
    """Build a parameter from the rows of its tensors.

    Parameters
    ----------
    parts
        One [rows, C] for each of the source's tensors; C may be 1 in place of the number of columns.
    shape
        Shape of the parameter.
    flat
        Result of `is_flat`.

    Returns
    -------
    NDArray
        Has the parameter's shape, with C instead of its columns if it is not flat.

    Raises
    ------
    KCircuitsError
        If the rows do not fit this shape.
    """
    rows = found.rule(sizes, parts)
    if flat:
        wanted: tuple[int, ...] = tuple(shape)
    else:
        *lead, first, last = shape
        wanted = (*lead, last if found.turned else first, rows.shape[-1])
    if rows.size != int(np.prod(wanted)):
        raise KCircuitsError(f"{len(rows)} rows of {', '.join(found.tensors)} do not fit {list(shape)}")
    whole = rows.reshape(wanted)
    return whole.swapaxes(-1, -2) if found.turned and not flat else whole


def interleaved_queries(sizes: Sizes, parts: Sequence[Rows]) -> Rows:
    """Queries with the halves of each head in sequence; the file interleaves them (LLaMA in GGUF)."""
    return _halves(parts[0], sizes.heads)


def interleaved_keys(sizes: Sizes, parts: Sequence[Rows]) -> Rows:
    """Keys with the halves of each head in sequence; the file interleaves them."""
    return _halves(parts[0], sizes.kv_heads)


def _halves(rows: Rows, heads: int) -> Rows:
    columns = rows.shape[-1]
    return rows.reshape(heads, -1, 2, columns).swapaxes(1, 2).reshape(-1, columns)


def part_of_fused(index: int) -> Rule:
    """Queries (0), keys (1) or values (2) of a fused matrix."""

    def rule(sizes: Sizes, parts: Sequence[Rows]) -> Rows:
        ends = np.cumsum([sizes.heads, sizes.kv_heads, sizes.kv_heads]) * sizes.head_dim
        start = ends[index - 1] if index else 0
        return parts[0][start : ends[index]]

    return rule


def group_queries(sizes: Sizes, parts: Sequence[Rows]) -> Rows:
    """Queries, key and value group by group; the file has all queries first."""
    rows = parts[0]
    columns = rows.shape[-1]
    q, k, v = (
        part_of_fused(index)(sizes, parts).reshape(sizes.kv_heads, -1, sizes.head_dim, columns)
        for index in range(3)
    )
    return np.concatenate([q, k, v], axis=1).reshape(-1, columns)


def experts_one_above_the_other(sizes: Sizes, parts: Sequence[Rows]) -> Rows:
    """Gate and up projection of each expert, one after the other."""
    columns = parts[0].shape[-1]
    stacked = [part.reshape(sizes.experts, -1, columns) for part in parts]
    return np.concatenate(stacked, axis=1).reshape(-1, columns)


def experts_alternating(sizes: Sizes, parts: Sequence[Rows]) -> Rows:
    """Alternating rows of the gate and the up projection of each expert (GPT-OSS)."""
    columns = parts[0].shape[-1]
    stacked = [part.reshape(sizes.experts, -1, columns) for part in parts]
    return np.stack(stacked, axis=2).reshape(-1, columns)


def source_parts(file: GgufFile, found: Source, names: Sequence[str], num_layers: int) -> bool:
    """Whether the file has all tensors of a parameter; False for a bias that no layer has.

    Raises KCircuitsError if some are missing.
    """
    if all(map(file.has, names)):
        return True
    if found.optional_bias and not any(
        file.has(re.sub(r"^blk\.\d+\.", f"blk.{layer}.", name))
        for name in names
        for layer in range(num_layers)
    ):
        return False
    missing = next(name for name in names if not file.has(name))
    raise KCircuitsError(f"{file.path} lacks the tensor {missing!r}")
