"""Mask × sender outputs → receiver inputs, with the receiver's norm fused in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kcircuits import _native  # noqa: F401  (loads the compiled op, or says how to build it)

NormName = Literal["none", "layernorm", "rmsnorm"]


def edge_mix(
    senders: Tensor,
    mask: Tensor,
    ablated: Tensor | None = None,
    constant: Tensor | None = None,
    *,
    norm: NormName = "none",
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    unit_offset: bool = False,
) -> Tensor:
    """Input of every receiver in a masked run (docs/exact-acdc.md).

    For receiver r and prompt n, with a the senders and ã their ablated values,

        x[r, n] = Σ_s mask[r, s]·a[s, n] + Σ_s (1 − mask[r, s])·ã[s, n] + constant[r, n]

    followed by the norm over the width D. S senders, R receivers, M hypotheses (masks evaluated together),
    P prompts, N = M·P (hypothesis-major: n = m·P + p), T tokens.

    Parameters
    ----------
    senders
        [S, P, T, D], the same for all hypotheses, or [S, M, P, T, D]; float32, float64, bfloat16 or
        float16. A sender that is absent from every row of `mask` is never read and may be NaN.
    mask
        [R, S], or [R, M, S] for one mask per hypothesis; bool, or floating with weights in [0, 1].
    ablated
        None for zero ablation, or [S, P, T, D] or [S, M, P, T, D] (the latter only with senders of
        that shape) in the senders' dtype; sizes of 1 broadcast (a mean over prompts or positions).
    constant
        None or [R, N, T, D] in the senders' dtype; sizes of 1 broadcast.
    norm
        `none`, `layernorm` or `rmsnorm`.
    weight, bias
        [D] or [R, D], any floating dtype, or None.
    eps
        Added to the variance or to the mean square.
    unit_offset
        Multiply by weight + 1 (Gemma).

    Returns
    -------
    Tensor
        [R, N, T, D], contiguous, in the senders' dtype. Sums and norms are computed in float32 (float64
        for float64) and rounded once, at the end.

    Raises
    ------
    ValueError
        If shapes, dtypes or devices do not match; the message names the argument.

    Notes
    -----
    Differentiable in senders, ablated, constant, a floating mask, weight and bias.
    """
    out: Tensor = torch.ops.kcircuits.edge_mix(
        senders,
        mask,
        ablated,
        constant,
        norm=norm,
        weight=weight,
        bias=bias,
        eps=eps,
        unit_offset=unit_offset,
    )
    return out


def edge_mix_reference(
    senders: Tensor,
    mask: Tensor,
    ablated: Tensor | None = None,
    constant: Tensor | None = None,
    *,
    norm: NormName = "none",
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    unit_offset: bool = False,
) -> Tensor:
    """`edge_mix` in plain PyTorch: the specification that every kernel is compared with."""
    dtype = torch.float64 if senders.dtype == torch.float64 else torch.float32
    masks = (mask if mask.dim() == 3 else mask.unsqueeze(1)).to(dtype)  # [R, M, S]
    hypotheses = masks.shape[1]

    def per_hypothesis(values: Tensor) -> Tensor:  # [S, M, P, T, D]
        values = values.to(dtype)
        values = values if values.dim() == 5 else values.unsqueeze(1)
        full = (senders.shape[0], hypotheses, *senders.shape[-3:])
        return values.expand(full)

    used = (masks != 0).any(dim=0).any(dim=0)  # [S]
    present = per_hypothesis(senders).masked_fill(~used[:, None, None, None, None], 0)
    x = torch.einsum("rms,smptd->rmptd", masks, present)
    if ablated is not None:
        x = x + torch.einsum("rms,smptd->rmptd", 1 - masks, per_hypothesis(ablated))
    x = x.flatten(1, 2)  # [R, N, T, D]
    if constant is not None:
        x = x + constant.to(dtype)
    if norm == "layernorm":
        x = x - x.mean(-1, keepdim=True)
    if norm != "none":
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        x = x * _per_receiver(weight.to(dtype) + (1 if unit_offset else 0))
    if bias is not None:
        x = x + _per_receiver(bias.to(dtype))
    return x.to(senders.dtype)


def _per_receiver(parameter: Tensor) -> Tensor:
    """[D] or [R, D] → [1 or R, 1, 1, D]."""
    rows = parameter if parameter.dim() == 2 else parameter.unsqueeze(0)
    return rows[:, None, None, :]
