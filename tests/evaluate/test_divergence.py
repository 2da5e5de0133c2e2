"""KL to the full model against all logits in float64."""

from __future__ import annotations

from dataclasses import replace

import torch

from kcircuits.evaluation import divergence as module
from kcircuits.evaluation.divergence import divergence
from kcircuits.evaluation.readout import read_answers
from tests.covers import pairwise
from tests.models import VOCABULARY, tiny_spec


@pairwise(
    budget={"a token at a time": 1, "some": 8 * 40 * 7, "all": 2**20},
    with_bias=[False, True],
    scale=[0.1, 3.0],
    cap=[None, 2.0],
)
def test_against_all_logits(monkeypatch, budget, with_bias, scale, cap):
    monkeypatch.setattr(module, "BLOCK_BYTES", budget)
    spec = replace(tiny_spec("llama"), logit_soft_cap=cap)
    if with_bias:
        spec = replace(spec, unembedding_bias=torch.randn(VOCABULARY))
    full, rows = scale * torch.randn(5, spec.width), scale * torch.randn(3, 5, spec.width)

    def log_p(x):
        bias = None if spec.unembedding_bias is None else spec.unembedding_bias.double()
        logits = torch.nn.functional.linear(x.double(), spec.unembedding.double(), bias)
        return (logits if cap is None else cap * torch.tanh(logits / cap)).log_softmax(-1)

    lse = read_answers(spec, rows, torch.zeros(5, dtype=torch.int64)).log_sum_exp
    expected = (log_p(full).exp() * (log_p(full) - log_p(rows))).sum(-1)
    assert expected.min() > 1e-3
    torch.testing.assert_close(divergence(spec, full, rows, lse), expected, atol=2e-5, rtol=1e-5)


def test_of_the_full_model_itself_is_zero():
    spec = tiny_spec("gpt2")
    rows = torch.randn(4, spec.width)
    lse = read_answers(spec, rows[None], torch.arange(4)).log_sum_exp
    assert divergence(spec, rows, rows[None], lse).tolist() == [[0, 0, 0, 0]]
