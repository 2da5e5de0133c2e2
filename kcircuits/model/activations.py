"""Hugging Face's names of activations and the names used here."""

from __future__ import annotations

from typing import Literal

from kcircuits.errors import KCircuitsError

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "quick_gelu"]

# Several Hugging Face names mean the same function, implemented in different ways.
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
    """The name used here for a Hugging Face activation; raises KCircuitsError if it is not supported."""
    if name not in ACTIVATIONS:
        raise KCircuitsError(f"activation {name!r} is not known; known: {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]
