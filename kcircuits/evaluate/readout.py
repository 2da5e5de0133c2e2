"""Rank and probability of answers, from final-normed rows."""

from __future__ import annotations

import torch
from torch import Tensor

from kcircuits.model.spec import ModelSpec

LOGITS_BYTES = 64 * 2**20
"""Logits that exist at a time."""


def read_answers(spec: ModelSpec, rows: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Rank and probability of each prompt's answer in several runs.

    Rows are unembedded some at a time, so the logits never need more than `LOGITS_BYTES` (or one row's).

    Parameters
    ----------
    spec
        The model.
    rows
        Final-normed rows at the prompts' last positions, [M, N, D].
    answers
        Answer ids, int64 [N].

    Returns
    -------
    tuple of Tensor
        Ranks int64 [M, N], 1 + the number of tokens with a greater logit, and probabilities float32 [M, N].
    """
    num_runs, num_prompts, width = rows.shape
    targets = answers.to(rows.device).repeat(num_runs)  # [M * N]
    flat = rows.reshape(-1, width)
    step = max(1, LOGITS_BYTES // (4 * spec.vocab_size))
    ranks, probabilities = [], []
    for some, wanted in zip(flat.split(step), targets.split(step), strict=True):
        logits = torch.nn.functional.linear(some, spec.unembedding, spec.unembedding_bias).float()
        answer = logits.gather(1, wanted[:, None])
        ranks.append(1 + (logits > answer).sum(dim=1))
        probabilities.append((answer[:, 0] - logits.logsumexp(dim=1)).exp())
    shape = num_runs, num_prompts
    return torch.cat(ranks).view(shape), torch.cat(probabilities).view(shape)
