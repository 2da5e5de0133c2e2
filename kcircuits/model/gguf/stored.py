"""A GGUF file's matrices with their own bits, never dequantised as a whole.

What a family's file makes of a Hugging Face model is found out with a model of markers: every row of a matrix
holds its own number, in memory for one number per row. The family takes it apart as it would the real one,
and the numbers say which of the file's rows each matrix of the specification is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.gguf.blocks import stored_weight
from kcircuits.model.gguf.header import check_header
from kcircuits.model.quantised import QuantisedWeight, Weight, dense

TENSOR = 2**32
"""Of a marker, the number of the matrix; below it the row. Together they are exact in float64."""


@dataclass(frozen=True)
class StoredWeights(Mapping[str, Tensor]):
    """A file's tensors under Hugging Face's names; as a mapping, float32 ones, made when asked for.

    matrices: with their own bits, [out, in], rows in Hugging Face's order. turned: those that the model has
    as [in, out]. others: everything else, float32.
    """

    matrices: dict[str, Weight]
    turned: frozenset[str]
    others: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        if name in self.others:
            return self.others[name]
        matrix = dense(self.matrices[name]).float()
        return matrix.t() if name in self.turned else matrix

    def __iter__(self) -> Iterator[str]:
        yield from self.matrices
        yield from self.others

    def __len__(self) -> int:
        return len(self.matrices) + len(self.others)

    def markers(self) -> dict[str, Tensor]:
        """A state for a Hugging Face model in float64: markers for matrices, all else as it is."""
        state = {name: other.double() for name, other in self.others.items()}
        for number, (name, matrix) in enumerate(self.matrices.items()):
            rows, columns = matrix.shape
            marker = (number * TENSOR + torch.arange(rows, dtype=torch.float64))[:, None].expand(-1, columns)
            state[name] = marker.t() if name in self.turned else marker
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


def read_stored(file: Path, hf_config: Any) -> StoredWeights:
    """The tensors of a GGUF file, under the names of the Hugging Face model of a configuration.

    Transformers' own map of names and order of rows are used.

    Raises
    ------
    KCircuitsError
        If the family's tensors are rearranged other than by rows, or are of a type that cannot be kept.
    """
    from gguf import GGUFReader, dequantize
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import (
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
        read_field,
    )

    check_header(file)
    reader = GGUFReader(file)
    with torch.device("meta"):
        shape_only = AutoModelForCausalLM.from_config(hf_config)
    architecture = read_field(reader, "general.architecture")[0]
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=hf_config.to_dict())
    names = get_gguf_hf_weights_map(shape_only, processor)
    parameters = dict(shape_only.named_parameters())
    matrices: dict[str, Weight] = {}
    turned, others = set(), {}
    for tensor in reader.tensors:
        name = names.get(tensor.name)
        if name not in parameters:
            continue  # such as the angles of a rotation, which are computed
        if tensor.data.ndim == 1 or _is_lookup(name):
            values = processor.process(dequantize(tensor.data, tensor.tensor_type), tensor.name).weights
            others[name] = torch.from_numpy(np.array(values, dtype=np.float32))
            continue
        order, is_turned = _row_order(processor, tensor.name, len(tensor.data), tensor.data.ndim)
        matrix = stored_weight(tensor.data, tensor.tensor_type.name)
        if not np.array_equal(order, np.arange(len(order))):
            rows = torch.from_numpy(order)
            matrix = matrix.rows(rows) if isinstance(matrix, QuantisedWeight) else matrix[rows]
        matrices[name] = matrix
        if is_turned:
            turned.add(name)
    return StoredWeights(matrices, frozenset(turned), others)


def _is_lookup(name: str) -> bool:
    """Whether it is GPT-2's learned positions: looked up, small, and a tensor in a specification."""
    return name.endswith(("wpe.weight", "embed_positions.weight"))


def _row_order(processor: Any, name: str, rows: int, dims: int) -> tuple[NDArray[np.int64], bool]:
    """Which of the file's rows each row of Hugging Face's is, and whether they are its columns there."""
    probe = np.arange(rows, dtype=np.int64).reshape(rows, 1)
    # Some put what they made into this dictionary as well.
    made: dict[str, Any] = {"tensors": {}}
    order = processor.process(probe, name, parsed_parameters=made).weights if dims == 2 else None
    if order is None or order.shape not in ((rows, 1), (1, rows)):
        raise KCircuitsError(
            f"the file's tensor {name} is rearranged other than by rows, so it cannot be kept as stored; "
            "load the file with --dtype float32, q8 or q4"
        )
    return np.ascontiguousarray(order.reshape(-1)), order.shape != (rows, 1)
