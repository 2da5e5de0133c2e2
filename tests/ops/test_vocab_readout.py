"""vocab_readout against its reference."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings

from kcircuits.ops import vocab_readout, vocab_readout_reference
from tests.ops.cases import DTYPES, READOUT_CASES, readout_cases, readout_inputs, strided
from tests.ops.checks import check_readout, check_traces

OP = torch.ops.kcircuits.vocab_readout.default
CPU = "cpu"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", READOUT_CASES.values(), ids=READOUT_CASES)
def test_matches_reference(case, dtype):
    check_readout(case, dtype, CPU)


@settings(max_examples=150)
@given(readout_cases())
def test_matches_reference_anywhere(case):
    check_readout(case, torch.float32, CPU)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_unembedding_of_wide_rows(dtype):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 72, generator=generator)
    unembedding = torch.randn(300, 72, generator=generator).to(dtype)
    targets = torch.randint(300, (9,), generator=generator)
    out = vocab_readout(rows, unembedding, targets, topk=5)
    expected = vocab_readout(rows, unembedding.float(), targets, topk=5)
    for ours, theirs in zip(out, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows, vocabulary", [(1, 50), (7, 2000), (100, 777)])
def test_ties_are_exact(dtype, rows, vocabulary):
    """Small integers multiply exactly, so every rank and id is decided: ties abound."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-2, 3, (rows, 24), generator=generator).to(dtype)
    w = torch.randint(-2, 3, (vocabulary, 24), generator=generator).to(dtype)
    targets = torch.randint(vocabulary, (rows, 9), generator=generator)
    out = vocab_readout(x, w, targets, topk=30, rank_range=True)
    expected = vocab_readout_reference(x, w, targets, topk=30, rank_range=True)
    assert torch.equal(out.ranks, expected.ranks)
    assert torch.equal(vocab_readout(x, w, targets).ranks, expected.ranks[..., 0])
    order = (x.double() @ w.double().t()).sort(descending=True).values.unsqueeze(1)  # [N, 1, V]
    own = expected.target_logits.double().unsqueeze(2)
    places = torch.arange(1, vocabulary + 1).expand(rows, 9, vocabulary)
    assert torch.equal(out.ranks[..., 0], torch.where(order == own, places, vocabulary + 1).amin(-1))
    assert torch.equal(out.ranks[..., 1], torch.where(order == own, places, 0).amax(-1))
    assert torch.equal(out.topk_ids, expected.topk_ids)
    assert torch.equal(out.topk_values, expected.topk_values)
    assert torch.equal(out.target_logits, expected.target_logits)


@pytest.mark.parametrize("rows", [1, 5, 70])
def test_duplicates_of_a_row_have_its_logit_and_rank(rows):
    """Not only where sums are exact: the same two rows give the same bits in every tile."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 301, generator=generator)
    w = torch.randn(1003, 301, generator=generator).repeat(3, 1)
    first = torch.randint(1003, (rows,), generator=generator)
    targets = torch.stack([first, first + 1003, first + 2006], dim=1)
    out = vocab_readout(x, w, targets, topk=9)
    assert (out.ranks == out.ranks[:, :1]).all()
    assert (out.ranks % 3 == 1).all()
    assert (out.target_logits == out.target_logits[:, :1]).all()
    ids = out.topk_ids.view(rows, 3, 3)
    assert (ids[..., 0] < 1003).all()
    assert torch.equal(ids - ids[..., :1], torch.tensor([0, 1003, 2006]).expand(rows, 3, 3))


def test_rows_do_not_depend_on_the_batch():
    inputs = readout_inputs(READOUT_CASES["everything"], torch.float32, CPU)
    out = vocab_readout(**inputs)
    for i in (0, 31, 49):
        alone = vocab_readout(
            **{**inputs, "rows": inputs["rows"][i : i + 1], "targets": inputs["targets"][i : i + 1]}
        )
        for whole, part in zip(out, alone, strict=True):
            assert torch.equal(whole[i : i + 1], part)


def test_strided_inputs():
    inputs = readout_inputs(READOUT_CASES["everything"], torch.float32, CPU)
    expected = vocab_readout(**inputs)
    changed = {k: strided(v) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    changed["unembedding"] = inputs["unembedding"].t().contiguous().t()
    for value, want in zip(vocab_readout(**changed), expected, strict=True):
        assert torch.equal(value, want)


def test_infinite_logits():
    inf = float("inf")
    bias = torch.tensor([0.0, -inf, 1.0, -inf])
    out = vocab_readout(torch.zeros(1, 2), torch.ones(4, 2), torch.tensor([[1, 2]]), bias, topk=4)
    assert out.ranks.tolist() == [[3, 1]]
    assert out.topk_ids.tolist() == [[2, 0, 1, 3]]
    torch.testing.assert_close(out.log_sum_exp, bias[None].double().logsumexp(-1))
    both = vocab_readout(torch.zeros(1, 2), torch.ones(4, 2), torch.tensor([[1, 2]]), bias, rank_range=True)
    assert both.ranks.tolist() == [[[3, 4], [1, 1]]]
    for value in (inf, -inf):
        bias = torch.full((4,), value)
        assert vocab_readout(torch.zeros(1, 2), torch.ones(4, 2), bias=bias).log_sum_exp.item() == value
    nan = vocab_readout(torch.full((1, 2), float("nan")), torch.ones(4, 2), topk=2)
    assert nan.log_sum_exp.isnan().all() and nan.topk_ids.tolist() == [[0, 1]]


def test_far_apart_logits_do_not_overflow():
    bias = torch.tensor([-500.0, 300.0, -1000.0]).repeat_interleave(100)
    out = vocab_readout(torch.zeros(3, 4), torch.zeros(300, 4), bias=bias)
    torch.testing.assert_close(out.log_sum_exp, bias.double().logsumexp(0).expand(3))


def test_gradient_is_refused():
    rows = torch.randn(3, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="not implemented"):
        vocab_readout(rows, torch.randn(9, 4)).log_sum_exp.sum().backward()


@pytest.mark.parametrize("name", ["ones", "log-sum-exp", "everything", "range"])
def test_opcheck(name):
    inputs = readout_inputs(READOUT_CASES[name], torch.float32, CPU)
    args = [
        inputs.pop("rows"),
        inputs.pop("unembedding"),
        inputs.pop("targets", None),
        inputs.pop("bias", None),
    ]
    torch.library.opcheck(OP, args, inputs)


@pytest.mark.parametrize("name", ["log-sum-exp", "everything"])
def test_traces(name):
    check_traces(
        lambda **inputs: tuple(vocab_readout(**inputs)),
        readout_inputs(READOUT_CASES[name], torch.float32, CPU),
    )


ROWS = torch.zeros(3, 8)
UNEMBEDDING = torch.zeros(10, 8)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rows": ROWS[0]}, "rows must be [N, D], got [8]"),
        ({"rows": ROWS.long()}, "rows must be float32, float64, bfloat16 or float16, got Long"),
        ({"unembedding": UNEMBEDDING.double()}, "unembedding is Double but rows is Float"),
        ({"unembedding": UNEMBEDDING[:, :4]}, "unembedding must be [V, D] with D = 8, got [10, 4]"),
        ({"targets": torch.zeros(3).int()}, "targets must be int64, got Int"),
        ({"targets": torch.zeros(2).long()}, "targets must be [N] or [N, K] with N = 3, got [2]"),
        ({"targets": torch.tensor([0, 10, 1])}, "targets must be ids in [0, 10), got 10 for row 1"),
        (
            {"targets": torch.tensor([[0, 1], [0, 2], [1, -100]])},
            "targets must be ids in [0, 10), got -100 for row 2",
        ),
        ({"topk": 11}, "topk must be between 0 and the vocabulary's size 10, got 11"),
        ({"topk": -1}, "topk must be between 0 and the vocabulary's size 10, got -1"),
        ({"soft_cap": -3.0}, "soft_cap must be finite and >= 0 (0 is off), got -3"),
        ({"bias": torch.zeros(8)}, "bias must be [V] = [10], got [8]"),
        ({"scale": torch.zeros(3)}, "scale is given but norm is 'none'"),
        ({"scale": torch.zeros(4), "norm": "rmsnorm"}, "scale must be [N] = [3], got [4]"),
        ({"norm": "batchnorm"}, "norm must be 'none', 'layernorm' or 'rmsnorm', got 'batchnorm'"),
        ({"norm": "rmsnorm", "unit_offset": True}, "unit_offset is True but weight is None"),
        ({"eps": float("nan")}, "eps must be finite and >= 0, got nan"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        vocab_readout(**{"rows": ROWS, "unembedding": UNEMBEDDING, **change})
