"""Rank and probability of answers, from final-normed rows."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from kcircuits.model.quantised import dense
from kcircuits.model.spec import ModelSpec
from kcircuits.ops import vocab_readout


class AnswerReadout(NamedTuple):
    """What M runs make of N answers; all float64 [M, N]."""

    rank: Tensor  # the middle of the places that the answer shares with tokens of the same logit
    probability: Tensor
    log_sum_exp: Tensor  # of the logits


def read_answers(spec: ModelSpec, rows: Tensor, answers: Tensor) -> AnswerReadout:
    """Rank and probability of each prompt's answer in several runs; the logits never exist.

    The rank is the mid-rank: 1 + the number of tokens with a greater logit + half the number of other tokens
    with the same logit. Where all logits are equal (a model without edges, under zero ablation) no token is
    predicted, and the answer is in the middle, at (V + 1) / 2, rather than first.

    Parameters
    ----------
    spec
        The model, with V tokens.
    rows
        Final-normed rows at the prompts' last positions, [M, N, D].
    answers
        Answer ids, int64 [N].
    """
    shape = rows.shape[:2]
    targets = answers.to(rows.device).expand(shape).reshape(-1)  # [M * N]
    flat = rows.reshape(-1, rows.shape[-1])
    bias = spec.unembedding_bias
    cap = spec.logit_soft_cap or 0.0
    vocabulary = dense(spec.unembedding)
    read = vocab_readout(flat, vocabulary, targets, bias, soft_cap=cap, rank_range=True)
    rank = read.ranks.double().mean(dim=-1)
    probability = (read.target_logits.double() - read.log_sum_exp).exp()
    return AnswerReadout(rank.view(shape), probability.view(shape), read.log_sum_exp.view(shape))
