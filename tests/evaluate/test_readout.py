"""Ranks and probabilities of answers against all logits at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kcircuits.evaluation.readout import read_answers
from kcircuits.ops import vocab_readout
from tests.models import VOCABULARY, tiny_spec


def mid_rank(logits: torch.Tensor, answer: int) -> float:
    """The mean of the places that the tokens with the answer's logit have, however they are ordered."""
    order = logits.sort(descending=True).values.tolist()
    places = [place for place, value in enumerate(order, start=1) if value == logits[answer]]
    return sum(places) / len(places)


@pytest.mark.parametrize("with_bias", [False, True])
def test_against_all_logits(with_bias):
    spec = tiny_spec("llama")
    if with_bias:
        spec = replace(spec, unembedding_bias=torch.randn(VOCABULARY))
    rows, answers = torch.randn(4, 5, spec.width), torch.randint(VOCABULARY, (5,))
    rank, probability, log_sum_exp = read_answers(spec, rows, answers)
    logits = torch.nn.functional.linear(rows, spec.unembedding, spec.unembedding_bias)
    assert rank.tolist() == [[mid_rank(run[n], answers[n]) for n in range(5)] for run in logits]
    expected = logits.softmax(dim=-1)[:, torch.arange(5), answers]
    torch.testing.assert_close(probability, expected.double(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(log_sum_exp, logits.double().logsumexp(dim=-1), atol=1e-5, rtol=1e-6)


def test_without_ties_the_rank_is_the_ops():
    spec = tiny_spec("llama")
    rows, answers = torch.randn(3, VOCABULARY, spec.width), torch.arange(VOCABULARY)
    ranks = vocab_readout(rows.flatten(0, 1), spec.unembedding, answers.repeat(3)).ranks
    assert torch.equal(read_answers(spec, rows, answers).rank.flatten(), ranks.double())


@pytest.mark.parametrize("value", [1.0, 0.3, -0.7])
def test_equal_logits_share_the_middle_of_their_places(value):
    weights = torch.tensor([[1.0], [2.0], [2.0], [0.0], [2.0]]) * value
    spec = replace(tiny_spec("llama"), unembedding=weights)
    rank, probability, _ = read_answers(spec, torch.ones(1, 5, 1), torch.arange(5))
    assert rank[0].tolist() == [mid_rank(weights[:, 0], answer) for answer in range(5)]
    assert rank.sum() == 15
    assert probability.sum() == pytest.approx(1)


def test_ties_of_equal_vectors_in_any_place():
    weights = torch.randn(VOCABULARY, 32)
    weights[[7, 20, 60]] = weights[3].clone()
    spec = replace(tiny_spec("llama"), unembedding=weights, unembedding_bias=torch.zeros(VOCABULARY))
    answers = torch.arange(VOCABULARY)
    ranks = read_answers(spec, torch.randn(32).expand(1, VOCABULARY, 32), answers).rank
    assert len(set(ranks[0, [3, 7, 20, 60]].tolist())) == 1
    assert ranks.sum() == VOCABULARY * (VOCABULARY + 1) / 2


def test_the_vocabulary_is_read_once(monkeypatch):
    calls = []

    def counted(rows, *args, **kwargs):
        calls.append(len(rows))
        return vocab_readout(rows, *args, **kwargs)

    monkeypatch.setattr("kcircuits.evaluation.readout.vocab_readout", counted)
    spec = tiny_spec("llama")
    read_answers(spec, torch.randn(2, 3, spec.width), torch.arange(3))
    assert calls == [6]


def test_a_row_that_predicts_nothing_has_the_middle_rank():
    spec = tiny_spec("llama")
    rank, probability, _ = read_answers(spec, torch.zeros(1, 1, spec.width), torch.tensor([5]))
    assert rank.item() == (VOCABULARY + 1) / 2
    assert probability.item() == pytest.approx(1 / VOCABULARY)
