"""Hugging Face's names of activations, and ours."""

from __future__ import annotations

from typing import Literal

from kcircuits.errors import KCircuitsError

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "quick_gelu"]

# Several Hugging Face names stand for one function that is written in several ways.
ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "relu": "relu",
    "quick_gelu": "quick_gelu",
}


def activation(name: str) -> Activation:
    """Our name of a Hugging Face activation; raises KCircuitsError for one that we do not have."""
    if name not in ACTIVATIONS:
        raise KCircuitsError(f"activation {name!r} is not known; known: {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]
