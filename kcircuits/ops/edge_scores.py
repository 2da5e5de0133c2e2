"""Differences of senders × gradients at receivers → a score per edge."""

from __future__ import annotations

import torch
from torch import Tensor


def edge_scores_reference(
    delta: Tensor,
    grad: Tensor,
    limits: Tensor,
    *,
    positions: Tensor | None = None,
    per_position: bool = False,
) -> Tensor:
    """`edge_scores` in plain PyTorch: the specification that every kernel is compared with."""
    dtype = torch.float64 if delta.dtype == torch.float64 else torch.float32
    left, right = delta.to(dtype), grad.to(dtype)
    if positions is not None:
        weights = positions.to(dtype)[..., None]  # [N, T, 1]
        left = left.masked_fill(weights == 0, 0) * weights
        right = right.masked_fill(weights == 0, 0)
    scores = torch.einsum("sntd,rntd->srt" if per_position else "sntd,rntd->sr", left, right)
    edges = torch.arange(len(delta), device=delta.device)[:, None] < limits  # [S, R]
    return scores * (edges[..., None] if per_position else edges)
