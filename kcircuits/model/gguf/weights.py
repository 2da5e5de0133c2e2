"""The weights of a GGUF file under Hugging Face names, dequantised to float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.building import check_size, parameter_shapes
from kcircuits.model.gguf.architectures import architecture_of, config_of
from kcircuits.model.gguf.file import GgufFile
from kcircuits.model.gguf.sources import Rows, Sizes, Source, is_flat, rearrange, source_parts
from kcircuits.runtime.optional import need


@dataclass(frozen=True)
class Parameter:
    """A parameter under Hugging Face's name, and what it is made of: its source and the file's tensors."""

    name: str
    source: Source
    tensors: tuple[str, ...]
    flat: bool


@dataclass(frozen=True)
class Description:
    """A file described as a Hugging Face model: its configuration and the source of each parameter."""

    file: GgufFile
    config: dict[str, Any]
    sizes: Sizes

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Name -> shape of every parameter.

        Raises KCircuitsError if they have far more elements than the file.
        """
        from transformers import AutoConfig

        shapes = parameter_shapes(AutoConfig.for_model(**self.config))
        check_size(shapes, self.file.num_numbers, self.file.path)
        return shapes

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every parameter that the file has.

        Raises KCircuitsError if a tensor is missing or a parameter is unknown.
        """
        names = architecture_of(self.file).names(self.file)
        found = []
        for name, shape in self.shapes.items():
            source, tensors = names.find(name)
            if source_parts(self.file, source, tensors, self.config_layers):
                found.append(Parameter(name, source, tensors, is_flat(name, len(shape))))
        return tuple(found)

    @property
    def config_layers(self) -> int:
        """The number of layers."""
        layers: int = self.file.take_own("block_count")
        return layers

    def zeros(self) -> dict[str, Tensor]:
        """The parameters that the file leaves out because they are zero."""
        given = {parameter.name for parameter in self.parameters}
        return {name: torch.zeros(shape) for name, shape in self.shapes.items() if name not in given}

    def make_parameter(self, name: str, found: Source, parts: Sequence[Rows], flat: bool) -> Rows:
        """Build a parameter from the rows of its tensors."""
        try:
            return rearrange(found, self.sizes, parts, self.shapes[name], flat)
        except ValueError as error:  # rows that cannot be reshaped for these heads
            raise KCircuitsError(
                f"{self.file.path}: {name} cannot be built from its tensors: {error}"
            ) from error


def read_description(file: GgufFile) -> Description:
    """Read a header; raises KCircuitsError if it is incomplete or its architecture is unknown."""
    return Description(file, *config_of(file))


def _dense_rows(file: GgufFile, name: str, flat: bool) -> Rows:
    """A tensor of the file as float32 rows [rows, C], with C = 1 if it is flat."""
    need("gguf", "GGUF files")
    from gguf import dequantize

    tensor = file.tensor(name)
    values = dequantize(tensor.data, tensor.tensor_type)
    return values.reshape(-1, 1 if flat else values.shape[-1])


def dense_parameter(description: Description, parameter: Parameter) -> Tensor:
    """A parameter in float32, contiguous.

    Raises KCircuitsError if its shape contradicts the configuration.
    """
    name, tensors = parameter.name, parameter.tensors
    parts = [_dense_rows(description.file, tensor, parameter.flat) for tensor in tensors]
    values = description.make_parameter(name, parameter.source, parts, parameter.flat)
    if tuple(values.shape) != tuple(description.shapes[name]):
        raise KCircuitsError(
            f"{description.file.path}: {', '.join(tensors)} give {name} the shape {list(values.shape)}, "
            f"but the header needs {list(description.shapes[name])}"
        )
    if parameter.source.add:
        values = values + np.float32(parameter.source.add)
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))


def dense_weights(description: Description) -> dict[str, Tensor]:
    """All parameters as `dense_parameter` builds them; also raises KCircuitsError if a tensor is missing."""
    return description.zeros() | {
        parameter.name: dense_parameter(description, parameter) for parameter in description.parameters
    }
