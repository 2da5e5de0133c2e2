"""Rows × unembedding → target logits, ranks, log-sum-exp and top-k, without storing the logits."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kcircuits import _native  # noqa: F401  (loads the compiled op, or says how to build it)
from kcircuits.ops.edge_mix import NormName


class VocabReadout(NamedTuple):
    """What `vocab_readout` returns; N rows, K targets per row."""

    target_logits: Tensor  # [N] or [N, K] as the targets; [N, 0] without targets
    ranks: Tensor  # int64, like target_logits: 1 + number of strictly greater logits; [.., 2] of a range
    log_sum_exp: Tensor  # float64 [N]
    topk_values: Tensor  # [N, topk], descending
    topk_ids: Tensor  # int64 [N, topk]; among equal logits the lower id comes first


def vocab_readout(
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
    rank_range: bool = False,
) -> VocabReadout:
    """Read rows of the residual stream through the unembedding.

    With x the rows after the norm, logits[n, v] = cap(⟨x[n], unembedding[v]⟩ + bias[v]), where cap is
    soft_cap · tanh(· / soft_cap). The vocabulary is processed in blocks; extra memory does not depend on V·N.
    N rows, V vocabulary, D width, K targets per row.

    Parameters
    ----------
    rows
        [N, D]: float32, float64, bfloat16 or float16.
    unembedding
        [V, D] in the rows' dtype; on the CPU it may be bfloat16 or float16 if rows are float32.
    targets
        int64 [N] or [N, K]: ids whose logits and ranks to return; None for none.
    bias
        [V], any floating dtype, or None.
    topk
        How many of the greatest logits to return.
    soft_cap
        Bound of the logits (Gemma 2), 0 for none. Ranks and the order of the top-k are computed
        before the cap, which is strictly increasing, so saturated values do not become ties.
    norm
        `none`, `layernorm` or `rmsnorm`, applied to the rows first.
    weight, norm_bias
        The norm's parameters, [D], any floating dtype, or None.
    eps, unit_offset
        As in `edge_mix`.
    scale
        [N], or None: replaces the norm's own 1 / deviation (to read a part of the stream at the whole
        stream's scale). `layernorm` still subtracts the row's mean.
    rank_range
        Give `ranks` a last axis of 2: the first and the last of the places that a target shares with the
        tokens of the same logit, 1 + number of greater logits and V − number of smaller ones.

    Returns
    -------
    VocabReadout
        Floating results in float32 (float64 for float64 rows), the dtype of all computations. Only the
        log-sum-exp is float64, because a log-probability is the difference between it and a target logit of
        similar size. Equal rows of `unembedding` tie exactly, wherever they are.

    Raises
    ------
    ValueError
        If shapes, dtypes, devices or target ids do not match; the message names the argument.

    Notes
    -----
    Not differentiable. A NaN logit makes the row's log-sum-exp NaN, does not count as greater than any
    logit, and comes last in the top-k.
    """
    out = torch.ops.kcircuits.vocab_readout(
        rows,
        unembedding,
        targets,
        bias,
        topk=topk,
        soft_cap=soft_cap,
        norm=norm,
        weight=weight,
        norm_bias=norm_bias,
        eps=eps,
        unit_offset=unit_offset,
        scale=scale,
        rank_range=rank_range,
    )
    return VocabReadout(*out)


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
    rank_range: bool = False,
) -> VocabReadout:
    """`vocab_readout` in plain PyTorch: the specification that every kernel is compared with."""
    dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
    x = rows.to(dtype)
    if norm == "layernorm":
        x = x - x.mean(-1, keepdim=True)
    if norm != "none":
        own = torch.rsqrt(x.square().mean(-1) + eps)
        x = x * (own if scale is None else scale.to(dtype)).unsqueeze(1)
    if weight is not None:
        x = x * (weight.to(dtype) + (1 if unit_offset else 0))
    if norm_bias is not None:
        x = x + norm_bias.to(dtype)
    scores = x @ unembedding.to(dtype).t()  # [N, V], before the cap
    if bias is not None:
        scores = scores + bias.to(dtype)

    def cap(values: Tensor) -> Tensor:
        return soft_cap * torch.tanh(values / soft_cap) if soft_cap > 0 else values

    ids = rows.new_empty((len(rows), 0), dtype=torch.int64) if targets is None else targets
    table = ids if ids.dim() == 2 else ids.unsqueeze(1)  # [N, K]
    target_scores = scores.gather(1, table)
    greater = (scores.unsqueeze(1) > target_scores.unsqueeze(2)).sum(-1)  # [N, K]
    ranks = (1 + greater).view(ids.shape)
    if rank_range:
        less = (scores.unsqueeze(1) < target_scores.unsqueeze(2)).sum(-1)
        ranks = torch.stack([ranks, (scores.shape[1] - less).view(ids.shape)], dim=-1)
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :topk]
    return VocabReadout(
        cap(target_scores).view(ids.shape),
        ranks,
        cap(scores).double().logsumexp(-1),
        cap(scores.gather(1, order)),
        order,
    )
