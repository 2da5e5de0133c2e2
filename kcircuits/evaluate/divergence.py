"""KL from the full model's prediction to those of masked runs, without their logits."""

from __future__ import annotations

import torch
from torch import Tensor

from kcircuits.model.spec import ModelSpec
from kcircuits.ops import vocab_readout

BLOCK_BYTES = 64 * 2**20
"""The logits and weights of the part of the vocabulary that is looked at a time."""


def divergence(spec: ModelSpec, full_rows: Tensor, rows: Tensor, log_sum_exp: Tensor) -> Tensor:
    """KL(full model ‖ run) over the vocabulary for each run and prompt, in nats.

    As logits are linear in a row x, KL = Σ p (log p − log q) = ⟨Σ_v p_v W_v, x_full − x⟩ + lse − lse_full,
    where p is the full model's prediction, W the unembedding and lse the log-sum-exp of a row's logits (a
    bias cancels out of the product). So what is kept for a prompt is one vector, not V logits.

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
    full = vocab_readout(full_rows, spec.unembedding, None, spec.unembedding_bias).log_sum_exp  # [N]
    direction = _expected_unembedding(spec, full_rows, full)
    linear = ((full_rows.double() - rows.double()) * direction).sum(dim=-1)
    return (linear + log_sum_exp - full).clamp(min=0)


def _expected_unembedding(spec: ModelSpec, rows: Tensor, log_sum_exp: Tensor) -> Tensor:
    """The mean of the unembedding's vectors under the rows' predictions, float64 [N, D]."""
    wide = rows.double()
    step = max(1, BLOCK_BYTES // (8 * (len(rows) + spec.width)))
    total, mean = wide.new_zeros(len(rows), 1), torch.zeros_like(wide)
    for start in range(0, spec.vocab_size, step):
        block = spec.unembedding[start : start + step].double()
        logits = wide @ block.t()
        if spec.unembedding_bias is not None:
            logits += spec.unembedding_bias[start : start + step].double()
        p = (logits - log_sum_exp[:, None]).exp()
        total += p.sum(dim=1, keepdim=True)
        mean += p @ block
    return mean / total
