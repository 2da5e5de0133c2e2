"""The CUDA kernels, run on the host thread by thread, against the ops' references."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kcircuits.ops import edge_mix_reference, edge_scores_reference
from tests.covers import pairwise
from tests.cuda import host_kernels
from tests.ops.cases import (
    DTYPES,
    MIX_CASES,
    NORMS,
    READOUT_CASES,
    SCORE_CASES,
    TOLERANCE,
    MixCase,
    ReadoutCase,
    ScoreCase,
    mix_cases,
    mix_inputs,
    readout_cases,
    readout_inputs,
    score_cases,
    score_inputs,
)
from tests.ops.checks import check_mix, check_readout, check_scores

pytestmark = pytest.mark.skipif(host_kernels.compiler_missing(), reason="no C++ compiler")
many_cases = settings(max_examples=40)
# Beside any width: whole vectors, fewer and more than a warp has, and more than one step of a product.
widths = st.sampled_from([None, 8, 64, 136, 520])
CPU = "cpu"


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile once: a failure is one error, not one per test."""
    host_kernels.library()


def with_width(case, width):
    return case if width is None else replace(case, width=width)


def unaligned(values):
    """The same tensors, one element away from any vector's boundary."""
    moved = {}
    for name, value in values.items():
        moved[name] = value
        if isinstance(value, torch.Tensor):
            moved[name] = value.new_empty(value.numel() + 1)[1:].view(value.shape).copy_(value)
    return moved


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", MIX_CASES.values(), ids=MIX_CASES)
def test_edge_mix(case, dtype):
    check_mix(case, dtype, CPU, host_kernels.edge_mix)


@many_cases
@given(mix_cases(), widths, st.sampled_from(DTYPES))
def test_edge_mix_anywhere(case, width, dtype):
    check_mix(with_width(case, width), dtype, CPU, host_kernels.edge_mix)


@pairwise(width=[4104, 4099, 9000], norm=NORMS, dtype=[torch.float32, torch.bfloat16])
def test_edge_mix_wider_than_a_tile(width, norm, dtype):
    """The mean and variance of a width that is swept twice; the values lie far from zero."""
    inputs = mix_inputs(MixCase(3, 2, None, 1, 1, width, norm=norm), dtype, CPU)
    inputs["senders"] += 2
    expected = edge_mix_reference(**inputs)
    torch.testing.assert_close(host_kernels.edge_mix(**inputs), expected, **TOLERANCE[dtype])


def test_edge_mix_never_reads_an_absent_sender():
    senders = torch.randn(40, 1, 2, 16)
    senders[7] = float("nan")
    mask = torch.rand(20, 40) < 0.5
    mask[:, 7] = False
    assert host_kernels.edge_mix(senders, mask).isfinite().all()


@pairwise(case=SCORE_CASES, dtype=DTYPES, multiprocessors=[1, 40])
def test_edge_scores(case, dtype, multiprocessors):
    check_scores(case, dtype, CPU, partial(host_kernels.edge_scores, multiprocessors=multiprocessors))


@many_cases
@given(score_cases(), widths, st.sampled_from(DTYPES), st.sampled_from([1, 40]))
def test_edge_scores_anywhere(case, width, dtype, multiprocessors):
    op = partial(host_kernels.edge_scores, multiprocessors=multiprocessors)
    check_scores(with_width(case, width), dtype, CPU, op)


@pytest.mark.parametrize("multiprocessors", [1, 40])
@pytest.mark.parametrize("per_position", [False, True])
def test_edge_scores_adds_to_a_slice_and_leaves_non_edges(per_position, multiprocessors):
    case = ScoreCase(30, 40, 2, 3, 16, per_position=per_position)
    inputs = score_inputs(case, torch.float32, CPU)
    whole = torch.full((30, 50, 3) if per_position else (30, 50), 7.0)
    host_kernels.edge_scores(**inputs, multiprocessors=multiprocessors, into=whole[:, 5:45])
    torch.testing.assert_close(whole[:, 5:45], 7 + edge_scores_reference(**inputs), rtol=1e-4, atol=1e-4)
    no_edge = torch.arange(30)[:, None] >= inputs["limits"][None, :]
    assert (whole[:, 5:45][no_edge] == 7).all() and (whole[:, :5] == 7).all() and (whole[:, 45:] == 7).all()


def test_edge_scores_never_reads_a_position_of_weight_zero():
    inputs = score_inputs(ScoreCase(20, 30, 2, 5, 24, positions="float"), torch.float32, CPU)
    inputs["delta"].masked_fill_((inputs["positions"] == 0)[..., None], float("nan"))
    assert host_kernels.edge_scores(**inputs).isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in READOUT_CASES if name != "splits"])
def test_vocab_readout(name, dtype):
    """All cases but the one of 60,000 words, which takes minutes thread by thread."""
    op = partial(host_kernels.vocab_readout, multiprocessors=4)
    check_readout(READOUT_CASES[name], dtype, CPU, op)


@many_cases
@given(readout_cases(), widths, st.sampled_from(DTYPES), st.sampled_from([1, 4]))
def test_vocab_readout_anywhere(case, width, dtype, multiprocessors):
    op = partial(host_kernels.vocab_readout, multiprocessors=multiprocessors)
    check_readout(with_width(case, width), dtype, CPU, op)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [2, 20])
def test_vocab_readout_ties(count, dtype):
    """Equal rows of the unembedding tie exactly: none outranks the other, and the lower id comes first."""
    inputs = readout_inputs(ReadoutCase(count, 1, 136, norm="rmsnorm", topk=40), dtype, CPU)
    inputs["unembedding"] = inputs["unembedding"].expand(300, 136).contiguous()
    targets = torch.tensor([299, 130]).expand(count, 2)
    inputs["rank_range"] = True
    out = host_kernels.vocab_readout(**inputs, targets=targets, multiprocessors=2)
    assert (out.ranks == torch.tensor([1, 300])).all()
    assert torch.equal(out.topk_ids, torch.arange(40).expand(count, -1))
    assert (out.topk_values == out.target_logits[:, :1]).all()


def test_vocab_readout_of_infinite_logits():
    bias = torch.full((200,), float("-inf"))
    bias[150] = 1.0
    targets = torch.tensor([3])
    out = host_kernels.vocab_readout(torch.ones(1, 4), torch.zeros(200, 4), targets, bias, topk=3)
    assert out.target_logits.item() == float("-inf")
    assert out.ranks.item() == 2
    assert out.log_sum_exp.item() == 1.0
    assert out.topk_ids.tolist() == [[150, 0, 1]]


@pytest.mark.parametrize("multiprocessors", [1, 4])
def test_log_sum_exp_keeps_its_digits(multiprocessors):
    """Beside logits of about 20, float32 has steps of 2e-6; the logits here are exact."""
    unembedding = 20 + torch.rand(1000, 1, generator=torch.Generator().manual_seed(0))
    out = host_kernels.vocab_readout(torch.ones(3, 1), unembedding, multiprocessors=multiprocessors)
    exact = unembedding.double().logsumexp(0).expand(3)
    torch.testing.assert_close(out.log_sum_exp, exact, rtol=0.0, atol=2e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("norm", NORMS)
def test_addresses_off_a_vectors_boundary(norm, dtype):
    """UBSan aborts where a 16-byte access is not aligned; the numbers do not depend on the address."""
    case = MixCase(9, 5, 2, 2, 3, 64, ablated="full", constant="full", norm=norm)
    mix = mix_inputs(case, dtype, CPU)
    expected = host_kernels.edge_mix(**mix)
    torch.testing.assert_close(host_kernels.edge_mix(**unaligned(mix)), expected, **TOLERANCE[dtype])
    scores = score_inputs(ScoreCase(9, 5, 2, 3, 64), dtype, CPU)
    assert torch.equal(host_kernels.edge_scores(**unaligned(scores)), host_kernels.edge_scores(**scores))
    readout = readout_inputs(ReadoutCase(9, 150, 64, targets=2, topk=3, norm=norm), dtype, CPU)
    got, expected = (host_kernels.vocab_readout(**values) for values in (unaligned(readout), readout))
    assert all(torch.equal(*pair) for pair in zip(got, expected, strict=True))
