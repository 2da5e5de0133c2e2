"""Hard-concrete gates (arXiv 1712.01312): random masks in [0, 1] that reach 0 and 1, with a slope."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE = 2 / 3
LOW, HIGH = -0.1, 1.1
"""The gates' distribution is stretched to this interval, then cut to [0, 1]."""

_SHIFT = TEMPERATURE * math.log(-LOW / HIGH)


def sample(log_alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Draw every gate; differentiable in `log_alpha`."""
    noise = torch.rand(log_alpha.shape, generator=generator, dtype=log_alpha.dtype).clamp(1e-6, 1 - 1e-6)
    logistic = noise.log() - (-noise).log1p()
    return _stretched(torch.sigmoid((logistic + log_alpha) / TEMPERATURE))


def probability_open(log_alpha: Tensor) -> Tensor:
    """Probability that a gate is not 0."""
    return torch.sigmoid(log_alpha - _SHIFT)


def _stretched(gate: Tensor) -> Tensor:
    return (LOW + (HIGH - LOW) * gate).clamp(0, 1)
