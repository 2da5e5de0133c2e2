"""The CUDA kernels, run on the host thread by thread, against their references."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcircuits.ops.edge_mix import edge_mix_reference
from kcircuits.ops.edge_scores import edge_scores_reference
from tests.cuda import cases, host_kernels

pytestmark = pytest.mark.skipif(host_kernels.compiler_missing(), reason="no C++ compiler")
many_cases = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def assert_close(got, expected, dtype):
    slack = cases.TOLERANCE[dtype]
    torch.testing.assert_close(got, expected, atol=slack, rtol=slack)


@many_cases
@given(cases.edge_mix_cases())
def test_edge_mix(case):
    args, keywords = case
    got = host_kernels.edge_mix(*args, **keywords)
    assert_close(got, edge_mix_reference(*args, **keywords), args[0].dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("width", [4104, 4099, 9000])
def test_edge_mix_wider_than_a_tile(width, norm, dtype):
    """The mean and variance of a width that is swept twice; the values lie far from zero."""
    randn = cases.random_tensors(0, dtype)
    senders = randn(3, 1, 1, width) + 2
    mask = torch.tensor([[True, True, False], [True, True, True]])
    got = host_kernels.edge_mix(senders, mask, norm=norm)
    assert_close(got, edge_mix_reference(senders, mask, norm=norm), dtype)


def test_edge_mix_never_reads_an_absent_sender():
    senders = torch.randn(40, 1, 2, 16)
    senders[7] = float("nan")
    mask = torch.rand(20, 40) < 0.5
    mask[:, 7] = False
    assert host_kernels.edge_mix(senders, mask).isfinite().all()


@many_cases
@given(cases.edge_scores_cases(), st.sampled_from((1, 40)))
def test_edge_scores(case, multiprocessors):
    args, keywords = case
    got = host_kernels.edge_scores(*args, **keywords, multiprocessors=multiprocessors)
    expected = edge_scores_reference(*args, **keywords)
    slack = 1e-11 if args[0].dtype == torch.float64 else 5e-4
    torch.testing.assert_close(got, expected, atol=slack, rtol=slack)


@pytest.mark.parametrize("multiprocessors", [1, 40])
@pytest.mark.parametrize("per_position", [False, True])
def test_edge_scores_adds_into(per_position, multiprocessors):
    randn = cases.random_tensors(0, torch.float32)
    delta, grad, limits = randn(20, 2, 3, 40), randn(5, 2, 3, 40), torch.tensor([0, 1, 7, 20, 20])
    before = randn(*((3, 20, 5) if per_position else (20, 5)))
    scores = before.clone().movedim(0, -1) if per_position else before.clone()
    start = scores.clone()
    host_kernels.edge_scores(
        delta, grad, limits, per_position=per_position, multiprocessors=multiprocessors, into=scores
    )
    added = edge_scores_reference(delta, grad, limits, per_position=per_position)
    torch.testing.assert_close(scores, start + added, atol=1e-4, rtol=1e-4)
    assert torch.equal(scores[:, 0], start[:, 0])


@many_cases
@given(cases.vocab_readout_cases(), st.sampled_from((1, 4)))
def test_vocab_readout(case, multiprocessors):
    args, keywords = case
    got = host_kernels.vocab_readout(*args, **keywords, multiprocessors=multiprocessors)
    cases.assert_same_readout(got, args, keywords)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("count", [2, 20])
def test_vocab_readout_ties(count, dtype):
    """Equal rows of the unembedding tie exactly: none outranks the other, and the lower id comes first."""
    randn = cases.random_tensors(1, dtype)
    rows, unembedding = randn(count, 136), randn(1, 136).expand(300, 136).contiguous()
    targets = torch.full((count, 2), 299)
    targets[:, 1] = 130
    logits, ranks, _, values, ids = host_kernels.vocab_readout(
        rows, unembedding, targets, topk=40, norm="rmsnorm", multiprocessors=2
    )
    assert (ranks == 1).all()
    assert torch.equal(ids, torch.arange(40).expand(count, -1))
    assert (values == logits[:, :1]).all()


def test_vocab_readout_infinite_logits():
    rows, unembedding = torch.ones(1, 4), torch.zeros(200, 4)
    bias = torch.full((200,), float("-inf"))
    bias[150] = 1.0
    logits, ranks, exps, values, ids = host_kernels.vocab_readout(
        rows, unembedding, torch.tensor([3]), bias, topk=3
    )
    assert logits.item() == float("-inf") and ranks.item() == 2 and exps.item() == 1.0
    assert ids.tolist() == [[150, 0, 1]] and values[0, 0] == 1.0
