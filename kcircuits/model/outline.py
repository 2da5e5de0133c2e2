"""An outline: a specification without its weights, as plain data with the place of each weight.

With an outline, the specification is recreated from the mapped files in milliseconds, without building the
Hugging Face model and without Transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from kcircuits.model.config_account import ConfigAccount
from kcircuits.model.places import Place, Rows, StoredTensors, Value, View
from kcircuits.model.spec import ModelSpec, map_leaves


@dataclass(frozen=True)
class Outline:
    """`spec` is a `ModelSpec` with a `Place` for every tensor; `values` are tensors that no file has.

    `account` is the account of the configuration from which the specification was read.
    """

    spec: Any
    values: dict[str, Tensor]
    account: ConfigAccount


def make_outline(spec: ModelSpec, stored: Mapping[str, Tensor], account: ConfigAccount) -> Outline:
    """Find every tensor of a specification among the stored tensors from which the model was built.

    Parameters
    ----------
    spec
        A model whose weights have the dtype in which they are stored.
    stored
        Name -> contiguous tensor.
    account
        The account of the model's configuration.
    """
    places = _Places(StoredTensors(stored))
    map_leaves(spec, Tensor, lambda tensor, _: places.look_at(tensor))
    places.find_rows()
    return Outline(map_leaves(spec, Tensor, lambda tensor, _: places.of(tensor)), places.values, account)


def fill_outline(
    outline: Outline, stored: Mapping[str, Tensor], dtype: torch.dtype | None, device: torch.device
) -> ModelSpec:
    """Rebuild the specification with its weights on a device.

    Parameters
    ----------
    outline
        Made from the same stored tensors, or from others with the same names, shapes and strides.
    stored
        Name -> tensor. Weights that need no conversion are views of it.
    dtype
        Dtype of the weights; None keeps the stored one. Angles and vectors computed from weights keep the
        dtype in which they were computed, float32 or better.
    """

    @cache
    def source(name: str) -> Tensor:
        return _convert(stored[name], dtype, device)

    @cache
    def tensor(place: Place) -> Tensor:
        if isinstance(place, Value):
            value = outline.values[place.name]
            kept = dtype if value.ndim > 1 else torch.promote_types(value.dtype, torch.float32)
            return _convert(value, kept, device)
        whole = source(place.name)
        if isinstance(place, Rows):
            return whole[outline.values[place.order].to(device)]
        return whole.as_strided(place.shape, place.stride, whole.storage_offset() + place.offset)

    spec: ModelSpec = map_leaves(outline.spec, Place, lambda place, _: tensor(place))
    return spec


def _convert(tensor: Tensor, dtype: torch.dtype | None, device: torch.device) -> Tensor:
    return tensor.to(device, dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype)


_Key = tuple[int, torch.Size, tuple[int, ...]]


@dataclass
class _Places:
    """The places of the tensors seen so far. All of them are alive, so addresses identify tensors."""

    stored: StoredTensors
    values: dict[str, Tensor] = field(default_factory=dict)
    _known: dict[_Key, Place] = field(default_factory=dict)
    _others: dict[_Key, Tensor] = field(default_factory=dict)

    def look_at(self, tensor: Tensor) -> Tensor:
        view = self.stored.view(tensor)
        if view is None:
            self._others[_key(tensor)] = tensor
        else:
            self._known[_key(tensor)] = view
        return tensor

    def find_rows(self) -> None:
        """Find the rows of tensors that are not views, among the stored tensors without views."""
        used = {place.name for place in self._known.values()}
        found = self.stored.rows(list(self._others.values()), self.stored.tensors.keys() - used)
        for (key, tensor), rows in zip(self._others.items(), found, strict=True):
            self._known[key] = Value(self._add_value(tensor)) if rows is None else self._place_of_rows(*rows)

    def of(self, tensor: Tensor) -> Place:
        return self._known[_key(tensor)]

    def _place_of_rows(self, name: str, order: list[int]) -> Place:
        source = self.stored.tensors[name]
        first, count = order[0], len(order)
        if order == list(range(first, first + count)):
            return View(name, first * source.stride(0), (count, *source.shape[1:]), source.stride())
        return Rows(name, self._add_value(torch.tensor(order)))

    def _add_value(self, tensor: Tensor) -> str:
        for name, value in self.values.items():
            if value.dtype == tensor.dtype and torch.equal(value, tensor):
                return name
        name = str(len(self.values))
        self.values[name] = tensor.detach().contiguous()
        return name


def _key(tensor: Tensor) -> _Key:
    return tensor.data_ptr(), tensor.shape, tensor.stride()
