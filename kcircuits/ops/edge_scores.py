"""Sender differences × receiver gradients → the score of every edge."""

from __future__ import annotations

import torch
from torch import Tensor

from kcircuits import _native  # noqa: F401  (loads the compiled op, or says how to build it)


def edge_scores(
    delta: Tensor,
    grad: Tensor,
    limits: Tensor,
    *,
    positions: Tensor | None = None,
    per_position: bool = False,
) -> Tensor:
    """First-order effect of every edge.

    For an edge from sender s to receiver r, with the positions' weights p,

        score[s, r] = Σ_n Σ_t p[n, t] · ⟨delta[s, n, t], grad[r, n, t]⟩

    S senders, R receivers, N prompts, T tokens, D width.

    Parameters
    ----------
    delta
        [S, N, T, D]: change of each sender (ablated minus actual); float32, float64, bfloat16 or float16.
    grad
        [R, N, T, D] in delta's dtype: gradient of the metric at each receiver's input.
    limits
        int64 [R]: receiver r has the senders 0 … limits[r] − 1. Blocks without edges are skipped. Any order
        works; it is fastest if receivers with equal limits are adjacent.
    positions
        None (all count), or [N, T]: bool, or floating weights. A position of weight 0 is never read and
        may be NaN.
    per_position
        Return a score per position instead of their sum.

    Returns
    -------
    Tensor
        [S, R], or [S, R, T] with `per_position` (summed over prompts alone); float32, or float64 for
        float64 input. Products are summed in that dtype. Pairs without an edge get 0.

    Raises
    ------
    ValueError
        If shapes, dtypes, devices or limits do not match; the message names the argument.

    Notes
    -----
    Not differentiable.
    """
    out: Tensor = torch.ops.kcircuits.edge_scores(
        delta, grad, limits, positions=positions, per_position=per_position
    )
    return out


def add_edge_scores(
    scores: Tensor,
    delta: Tensor,
    grad: Tensor,
    limits: Tensor,
    *,
    positions: Tensor | None = None,
    per_position: bool = False,
) -> None:
    """Add `edge_scores` of the same arguments to `scores`, in place.

    `scores` has the shape and dtype that `edge_scores` returns and any strides; it may be a slice of the
    whole model's matrix. Entries without an edge are unchanged.
    """
    torch.ops.kcircuits.edge_scores_(
        scores, delta, grad, limits, positions=positions, per_position=per_position
    )


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
    delta, grad = delta.to(dtype), grad.to(dtype)
    if positions is not None:
        weights = positions.to(dtype)[None, :, :, None]  # [1, N, T, 1]
        delta = (delta * weights).masked_fill(weights == 0, 0)
        grad = grad.masked_fill(weights == 0, 0)
    scores = torch.einsum("sntd,rntd->srt", delta, grad)
    senders = torch.arange(delta.shape[0], device=delta.device)
    edges = senders[:, None] < limits[None, :]  # [S, R]
    scores = scores.masked_fill(~edges.unsqueeze(-1), 0)
    return scores if per_position else scores.sum(-1)
