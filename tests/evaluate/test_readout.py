"""Ranks and probabilities of answers against all logits at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kcircuits.evaluate import readout
from kcircuits.evaluate.readout import read_answers
from tests.models import VOCABULARY, tiny_spec


@pytest.mark.parametrize("budget", [1, 4 * VOCABULARY * 3, 2**20])
@pytest.mark.parametrize("with_bias", [False, True])
def test_any_portion_of_rows(monkeypatch, budget, with_bias):
    monkeypatch.setattr(readout, "LOGITS_BYTES", budget)
    spec = tiny_spec("llama")
    if with_bias:
        spec = replace(spec, unembedding_bias=torch.randn(VOCABULARY))
    rows, answers = torch.randn(4, 5, spec.width), torch.randint(VOCABULARY, (5,))
    rank, probability = read_answers(spec, rows, answers)
    logits = torch.nn.functional.linear(rows, spec.unembedding, spec.unembedding_bias)
    order = logits.argsort(dim=-1, descending=True)
    expected = (order == answers[None, :, None]).int().argmax(dim=-1) + 1
    assert torch.equal(rank, expected)
    torch.testing.assert_close(
        probability, logits.softmax(dim=-1)[:, torch.arange(5), answers], atol=1e-6, rtol=1e-5
    )


def test_equal_logits_share_the_best_rank():
    spec = replace(tiny_spec("llama"), unembedding=torch.tensor([[1.0], [2.0], [2.0], [0.0]]))
    rank, probability = read_answers(spec, torch.ones(1, 4, 1), torch.arange(4))
    assert rank.tolist() == [[3, 1, 1, 4]]
    assert probability.sum() == pytest.approx(1)
