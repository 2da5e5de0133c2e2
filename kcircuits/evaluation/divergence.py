"""KL from the full model's prediction to those of masked runs, without their logits."""

from __future__ import annotations

import torch
from torch import Tensor

from kcircuits.model.quantised import dense
from kcircuits.model.spec import ModelSpec
from kcircuits.ops import vocab_readout

BLOCK_BYTES = 64 * 2**20
"""The logits and weights of the part of the vocabulary that is looked at a time."""


def divergence(spec: ModelSpec, full_rows: Tensor, rows: Tensor, log_sum_exp: Tensor) -> Tensor:
    """KL(full model ‖ run) over the vocabulary for each run and prompt, in nats.

    As logits are linear in a row x, KL = Σ p (log p − log q) = ⟨Σ_v p_v W_v, x_full − x⟩ + lse − lse_full,
    where p is the full model's prediction, W the unembedding and lse the log-sum-exp of a row's logits (a
    bias cancels out of the product). So what is kept for a prompt is one vector, not V logits. Behind a soft
    cap they are not linear, and Σ p (logit_full − logit) is summed over parts of the vocabulary.

    Parameters
    ----------
    spec
        The model.
    full_rows
        The full model's final-normed rows at the last positions, [N, D].
    rows
        Those of M runs, [M, N, D].
    log_sum_exp
        Of the runs' logits, float64 [M, N].

    Returns
    -------
    Tensor
        float64 [M, N]; what rounding leaves below 0 is 0.
    """
    cap = spec.logit_soft_cap or 0.0
    full = vocab_readout(
        full_rows, dense(spec.unembedding), None, spec.unembedding_bias, soft_cap=cap
    ).log_sum_exp  # [N]
    if cap:
        return (_expected_gap(spec, full_rows, rows, full) + log_sum_exp - full).clamp(min=0)
    direction = _expected_unembedding(spec, full_rows, full)
    linear = ((full_rows.double() - rows.double()) * direction).sum(dim=-1)
    return (linear + log_sum_exp - full).clamp(min=0)


def _expected_unembedding(spec: ModelSpec, rows: Tensor, log_sum_exp: Tensor) -> Tensor:
    """The mean of the unembedding's vectors under the rows' predictions, float64 [N, D]."""
    step = max(1, BLOCK_BYTES // (8 * (len(rows) + spec.width)))
    total, mean = log_sum_exp.new_zeros(len(rows), 1), torch.zeros_like(rows, dtype=torch.float64)
    for start in range(0, spec.vocab_size, step):
        part = slice(start, start + step)
        block, logits = spec.unembedding[part].double(), _logits(spec, rows, part)
        p = (logits - log_sum_exp[:, None]).exp()
        total += p.sum(dim=1, keepdim=True)
        mean += p @ block
    return mean / total


def _expected_gap(spec: ModelSpec, full_rows: Tensor, rows: Tensor, log_sum_exp: Tensor) -> Tensor:
    """Σ p (logit_full − logit) of runs under the full model's predictions, float64 [M, N]; rows [M, N, D]."""
    count = (len(rows) + 1) * len(full_rows)
    step = max(1, BLOCK_BYTES // (8 * (count + spec.width)))
    total, gap = torch.zeros_like(log_sum_exp), log_sum_exp.new_zeros(rows.shape[:2])
    for start in range(0, spec.vocab_size, step):
        part = slice(start, start + step)
        full = _logits(spec, full_rows, part)
        p = (full - log_sum_exp[:, None]).exp()
        total += p.sum(dim=1)
        gap += (p * (full - _logits(spec, rows, part))).sum(dim=-1)
    return gap / total


def _logits(spec: ModelSpec, rows: Tensor, part: slice) -> Tensor:
    """Logits of part of the vocabulary, float64."""
    logits = rows.double() @ spec.unembedding[part].double().t()
    if spec.unembedding_bias is not None:
        logits += spec.unembedding_bias[part].double()
    cap = spec.logit_soft_cap
    return logits if cap is None else torch.tanh(logits / cap) * cap
