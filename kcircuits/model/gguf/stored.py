"""A GGUF file's matrices with their own bits, never dequantised as a whole.

What a family makes of a Hugging Face model is found out with a model of markers: every row of a matrix holds
its own number, in memory for one number per row. The rules that make parameters of the file's tensors, and
the family that takes them apart, move these rows as they would the real ones, and the numbers say which of
the file's rows each matrix of the specification is.
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

# Parts of a specification that are tensors: small, and looked up or compared rather than multiplied.
_DENSE = ("wpe.weight", "mlp.gate.weight", "mlp.router.weight")


@dataclass(frozen=True)
class StoredWeights(Mapping[str, Tensor]):
    """A file's weights under Hugging Face's names; as a mapping, float32 ones, made when asked for.

    matrices: the file's tensors with their own bits, [rows, in], by the file's names. made: for each
    parameter that is made of them, its source and the tensors' names. others: all other parameters, float32.
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
        """A state for a Hugging Face model in float64: markers for matrices, all else as it is."""
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
        """The matrix that a specification made of markers has in this place.

        Raises KCircuitsError where it is not whole rows of one of the file's matrices.
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
                f"the file's matrix {name} is not used by whole rows in this family, so it cannot be kept as "
                "stored; load the file with --dtype float32, q8 or q4"
            )
        first, count = int(rows[0]), len(rows)
        adjacent = torch.equal(rows, torch.arange(first, first + count))
        picked: Tensor | slice = slice(first, first + count) if adjacent else rows
        return whole.rows(picked) if isinstance(whole, QuantisedWeight) else whole[picked]


def read_stored(description: Description) -> StoredWeights:
    """The weights of a GGUF file, matrices with their own bits.

    Raises
    ------
    KCircuitsError
        If a tensor is missing, or a matrix is of a type that cannot be kept.
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
