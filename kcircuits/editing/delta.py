"""The change of a model's matrices by an edit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.files.tensor_files import tensor_bytes
from kcircuits.files.writing import write_atomically
from kcircuits.graph.identity import check_same_weights
from kcircuits.model.loading import Model
from kcircuits.model.quantised import dense
from kcircuits.model.spec import ModelSpec

FORMAT = "kcircuits-edit/1"
_OF_MODEL = ("name", "weights_hash", "configuration")
_NAME = re.compile(r"layers\.(\d{1,6})\.(mlp\.w_down|attention\.w_o)")


@dataclass(frozen=True)
class LowRank:
    """left rightᵀ: left [out, r], right [in, r]."""

    left: Tensor
    right: Tensor

    @property
    def matrix(self) -> Tensor:
        """The product, [out, in]."""
        return self.left @ self.right.T


@dataclass(frozen=True)
class Delta:
    """Matrices, by name ("layers.17.mlp.w_down"), and what is added to them."""

    parts: Mapping[str, LowRank | Tensor]

    def apply(self, model: Model) -> Model:
        """A new model with the changed matrices. It shares all other tensors with the given model.

        Quantised matrices are dequantised first.

        Raises KCircuitsError if a matrix does not exist or has another shape.
        """
        spec = model.spec
        for name, part in self.parts.items():
            spec = add_to_matrix(spec, name, part)
        given = f"{model.identity['weights_hash']} {self.digest}"
        identity = {**model.identity, "weights_hash": hashlib.sha256(given.encode()).hexdigest()}
        return replace(model, spec=spec, identity=identity)

    @property
    def digest(self) -> str:
        """SHA-256 of names and values."""
        found = hashlib.sha256()
        for name, tensor in sorted(self._tensors().items()):
            found.update(name.encode() + str(list(tensor.shape)).encode())
            found.update(tensor.numpy().tobytes())
        return found.hexdigest()

    def save(self, path: str | Path, identity: Mapping[str, Any]) -> None:
        """Write a safetensors file atomically; `identity` is that of the original model."""
        header = {"format": FORMAT, **{key: str(identity[key]) for key in _OF_MODEL if key in identity}}
        write_atomically(path, tensor_bytes(self._tensors(), header))

    @classmethod
    def load(cls, path: str | Path, model: Model) -> Delta:
        """Read what `save` wrote.

        Raises KCircuitsError if the file is anything else, or the edit is of another model.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise KCircuitsError(f"cannot read the edit in {path}: {error}") from error
        if header.get("format") != FORMAT:
            raise KCircuitsError(f"{path} is not an edit: its format is not {FORMAT}")
        check_same_weights(f"the edit in {path} was", header, model.identity)
        names = {name.removesuffix(".left").removesuffix(".right") for name in tensors}
        try:
            parts = {
                name: tensors[name]
                if name in tensors
                else LowRank(tensors[f"{name}.left"], tensors[f"{name}.right"])
                for name in sorted(names)
            }
        except KeyError as error:
            raise KCircuitsError(f"the edit in {path} lacks {error}") from error
        return cls(parts)

    def _tensors(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, part in self.parts.items():
            if isinstance(part, LowRank):
                found |= {f"{name}.left": part.left, f"{name}.right": part.right}
            else:
                found[name] = part
        return {name: tensor.detach().float().cpu().contiguous() for name, tensor in found.items()}


def get_matrix(spec: ModelSpec, name: str) -> Tensor:
    """The matrix with a name. Raises KCircuitsError if there is none."""
    layer, block, field = _parse_name(spec, name)
    return dense(getattr(getattr(spec.layers[layer], block), field))


def matrix_name(layer: int, of_heads: bool = False) -> str:
    """The name of the output matrix of a layer's heads or MLP."""
    return f"layers.{layer}.{'attention.w_o' if of_heads else 'mlp.w_down'}"


def add_to_matrix(spec: ModelSpec, name: str, part: LowRank | Tensor) -> ModelSpec:
    """A model with a change added to the matrix of this name.

    Raises KCircuitsError if there is no such matrix, or its shape differs.
    """
    before, added = get_matrix(spec, name), part.matrix if isinstance(part, LowRank) else part
    if before.shape != added.shape:
        raise KCircuitsError(
            f"an edit of shape {list(added.shape)} does not fit {name}, which has {list(before.shape)}"
        )
    return replace_matrix(spec, name, (before.float() + added.to(before.device)).to(before.dtype))


def replace_matrix(spec: ModelSpec, name: str, matrix: Tensor) -> ModelSpec:
    """A model with another matrix of this name."""
    layer, block, field = _parse_name(spec, name)
    old = spec.layers[layer]
    changed = replace(old, **{block: replace(getattr(old, block), **{field: matrix})})
    return replace(spec, layers=(*spec.layers[:layer], changed, *spec.layers[layer + 1 :]))


def _parse_name(spec: ModelSpec, name: str) -> tuple[int, str, str]:
    match = _NAME.fullmatch(name)
    if match is None or int(match[1]) >= len(spec.layers):
        raise KCircuitsError(f"the model has no matrix {name!r} to edit")
    block, field = match[2].split(".")
    if not hasattr(getattr(spec.layers[int(match[1])], block), field):
        raise KCircuitsError(f"{name!r}: layer {match[1]} is a mixture of experts, which cannot be edited")
    return int(match[1]), block, field
