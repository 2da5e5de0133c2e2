"""Which model is this: names, sizes, and a hash of every weight."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.identity import graph_fields
from kcircuits.model.spec import ModelSpec


def identity_of(name: str, spec: ModelSpec, weights: str) -> dict[str, Any]:
    """What circuit.json keeps of a model, so that a circuit is never used with another one."""
    return {
        "name": name,
        "family": spec.family,
        **graph_fields(spec.graph),
        "width": spec.width,
        "vocab_size": spec.vocab_size,
        "weights_hash": weights,
    }


def weights_hash(weights: Mapping[str, Tensor], unused: Callable[[str], bool] = lambda _: False) -> str:
    """Hash every weight of a model as stored, and check that all of them are finite.

    It is the SHA-256 over the sorted (name, dtype, shape, SHA-256 of the bytes) of all tensors on the CPU. So
    it does not depend on how tensors are spread over files, nor on the dtype and device that the model is
    used in. Tensors are hashed in parallel: about 0.2 s for 135M float32 parameters on two cores with SHA
    instructions. `unused` names tensors that are hashed and may be infinite: constants of old checkpoints.

    Raises KCircuitsError that names the tensor if a weight is NaN or infinite.
    """
    names = sorted(weights)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # A mapping may make a tensor when it is asked for, so each is asked for in its turn.
        entries = pool.map(lambda name: _hash_tensor(name, weights[name], unused(name)), names)
        return hashlib.sha256("".join(entries).encode()).hexdigest()


def _hash_tensor(name: str, tensor: Tensor, unused: bool) -> str:
    # The sum of finite numbers is finite but for an overflow, so the exact test is rarely needed.
    if not unused and tensor.is_floating_point() and not tensor.sum(dtype=torch.float32).isfinite():
        bad = int((~tensor.isfinite()).sum())
        if bad:
            raise KCircuitsError(
                f"{bad} of {tensor.numel()} values of the weight {name!r} are NaN or infinite"
            )
    content = hashlib.sha256(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return f"{name} {tensor.dtype} {list(tensor.shape)} {content.hexdigest()}\n"
