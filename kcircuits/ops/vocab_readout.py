"""Rows × unembedding → target logit and rank, log-sum-exp and the best words."""

from __future__ import annotations

import torch
from torch import Tensor

from kcircuits.ops.edge_mix import NormName


def vocab_readout_reference(
    rows: Tensor,
    unembedding: Tensor,
    targets: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    topk: int = 0,
    soft_cap: float = 0.0,
    norm: NormName = "none",
    weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    eps: float = 1e-5,
    unit_offset: bool = False,
    scale: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`vocab_readout` in plain PyTorch: the specification that every kernel is compared with."""
    dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
    x = rows.to(dtype)
    if norm == "layernorm":
        x = x - x.mean(-1, keepdim=True)
    if norm != "none":
        own = torch.rsqrt(x.square().mean(-1) + eps)
        x = x * (own if scale is None else scale.to(dtype))[:, None]
    if weight is not None:
        x = x * (weight.to(dtype) + (1 if unit_offset else 0))
    if norm_bias is not None:
        x = x + norm_bias.to(dtype)
    logits = x @ unembedding.to(dtype).T  # [N, V]
    if bias is not None:
        logits = logits + bias.to(dtype)

    def capped(values: Tensor) -> Tensor:
        return soft_cap * torch.tanh(values / soft_cap) if soft_cap > 0 else values

    ids = logits.argsort(dim=-1, descending=True, stable=True)[:, :topk]
    if targets is None:
        targets = torch.empty(len(rows), 0, dtype=torch.int64, device=rows.device)
    wanted = logits.gather(1, targets.view(len(rows), -1))  # [N, K]
    ranks = 1 + (logits[:, None, :] > wanted[..., None]).sum(-1)
    return (
        capped(wanted).view(targets.shape),
        ranks.view(targets.shape),
        capped(logits).logsumexp(-1),
        capped(logits.gather(1, ids)),
        ids,
    )
