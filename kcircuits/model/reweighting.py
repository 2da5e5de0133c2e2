"""Convert the matrices of a model to another representation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kcircuits.model.quantised import Weight, quantise
from kcircuits.model.spec import ModelSpec, map_leaves

MATRICES = frozenset({"w_q", "w_k", "w_v", "w_o", "w_up", "w_gate", "w_down", "embedding", "unembedding"})
"""Specification fields that are a `Weight`; routers and learned positions are small and stay tensors."""


def map_matrices(spec: ModelSpec, change: Callable[[Tensor], Weight], device: torch.device) -> ModelSpec:
    """Apply `change` to every matrix and convert everything else to float32; nothing of `spec` is retained.

    A tensor that is used in several places is changed once, and the result is shared.
    """
    known: dict[tuple[Any, ...], Any] = {}

    def once(tensor: Tensor, made: Callable[[Tensor], Weight]) -> Weight:
        key = (made, tensor.data_ptr(), tensor.shape, tensor.stride())
        if key not in known:
            known[key] = made(tensor)
        weight: Weight = known[key]
        return weight

    def alone(tensor: Tensor) -> Tensor:
        return tensor.to(device, torch.float32, copy=True)

    def moved(tensor: Tensor) -> Weight:
        return change(tensor).to(device)

    def changed(tensor: Tensor, field: str) -> Weight:
        return once(tensor, moved if field in MATRICES else alone)

    reweighted: ModelSpec = map_leaves(spec, Tensor, changed)
    return reweighted


def quantise_model(spec: ModelSpec, bits: int, device: torch.device) -> ModelSpec:
    """The model with every matrix rounded to 8 or 4 bits (`quantise`), one at a time."""
    return map_matrices(spec, lambda matrix: quantise(matrix, bits), device)
