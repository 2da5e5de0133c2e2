"""Keep the matrices of a GGUF file quantised as stored, without dequantising whole matrices.

A model of markers shows how a family rearranges a Hugging Face model: every row of a matrix consists of its
row number (memory for one number per row). The rules that build parameters from the file's tensors, and the
family's file that splits them, move these rows like real ones, so the numbers tell which rows of the file
each matrix of the specification has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.gguf.blocks import stored_weight
from kcircuits.model.gguf.sources import Source
from kcircuits.model.gguf.weights import Description, dense_parameter
from kcircuits.model.quantised import QuantisedWeight, Weight, dense

TENSOR = 2**32
"""Of a marker, the number of the matrix; below it the row. Together they are exact in float64."""

# Parts of a specification that stay tensors: small, and used for look-ups rather than products.
_DENSE = ("wpe.weight", "mlp.gate.weight", "mlp.router.weight")


@dataclass(frozen=True)
class StoredWeights(Mapping[str, Tensor]):
    """The weights of a file under Hugging Face names; as a mapping, it dequantises to float32 on access.

    matrices: the file's quantised tensors, [rows, in], by the file's names. made: for each parameter built
    from them, its source and the names of the tensors. others: all other parameters, float32.
    """

    description: Description
    matrices: dict[str, Weight]
    made: dict[str, tuple[Source, tuple[str, ...]]]
    others: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        if name in self.others:
            return self.others[name]
        found, tensors = self.made[name]
        parts = [dense(self.matrices[tensor]).float().numpy() for tensor in tensors]
        return torch.from_numpy(
            np.ascontiguousarray(self.description.make_parameter(name, found, parts, flat=False))
        )

    def __iter__(self) -> Iterator[str]:
        yield from self.made
        yield from self.others

    def __len__(self) -> int:
        return len(self.made) + len(self.others)

    def markers(self) -> dict[str, Tensor]:
        """A float64 state dict for a Hugging Face model: markers for matrices, other weights unchanged."""
        state = {name: other.double() for name, other in self.others.items()}
        numbers = {name: number for number, name in enumerate(self.matrices)}
        for name, (found, tensors) in self.made.items():
            rows = [
                numbers[tensor] * TENSOR
                + np.arange(self.matrices[tensor].shape[0], dtype=np.float64)[:, None]
                for tensor in tensors
            ]
            marker = torch.from_numpy(self.description.make_parameter(name, found, rows, flat=False))
            state[name] = marker.expand(self.description.shapes[name])
        return state

    def matrix_of(self, marker: Tensor) -> Weight:
        """The quantised matrix for a marker in a specification.

        Raises KCircuitsError if the marker does not consist of whole rows of one matrix of the file.
        """
        places = marker[:, 0].long()
        name = list(self.matrices)[int(places[0]) // TENSOR]
        whole, rows = self.matrices[name], places % TENSOR
        if (
            marker.shape[1] != whole.shape[1]
            or not torch.equal(places // TENSOR, (places[:1] // TENSOR).expand_as(places))
            or not torch.equal(marker[:, -1].long(), places)
        ):
            raise KCircuitsError(
                f"this family does not use whole rows of the file's matrix {name}, so it cannot be kept as "
                "stored; load the file with --dtype float32, q8 or q4"
            )
        first, count = int(rows[0]), len(rows)
        adjacent = torch.equal(rows, torch.arange(first, first + count))
        picked: Tensor | slice = slice(first, first + count) if adjacent else rows
        return whole.rows(picked) if isinstance(whole, QuantisedWeight) else whole[picked]


def read_stored(description: Description) -> StoredWeights:
    """Read the weights of a GGUF file, with matrices quantised as stored.

    Raises
    ------
    KCircuitsError
        If a tensor is missing, or the type of a matrix cannot be kept.
    """
    file = description.file
    matrices: dict[str, Weight] = {}
    made: dict[str, tuple[Source, tuple[str, ...]]] = {}
    others = description.zeros()
    for parameter in description.parameters:
        name, source = parameter.name, parameter.source
        if parameter.flat or source.add or name.endswith(_DENSE):
            others[name] = dense_parameter(description, parameter)
            continue
        made[name] = source, parameter.tensors
        for tensor in parameter.tensors:
            if tensor not in matrices:
                kept = file.tensor(tensor)
                rows = kept.data.reshape(-1, kept.data.shape[-1])
                matrices[tensor] = stored_weight(rows, kept.tensor_type.name)
    return StoredWeights(description, matrices, made, others)
