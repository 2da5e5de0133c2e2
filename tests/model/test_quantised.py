"""Matrices as codes: rounding, dequantising, rows."""

from __future__ import annotations

import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.errors import KCircuitsError
from kcircuits.model.devices import tensors_of
from kcircuits.model.quantised import PART, QuantisedWeight, dense, linear, pack_codes, quantise


def matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def by_hand(weight: QuantisedWeight) -> torch.Tensor:
    """scale * (code - zero) + offset, code by code; of a weight without blocks."""
    rows = []
    for row, (scales, codes) in enumerate(zip(weight.scale.float(), weight.codes, strict=True)):
        for number, scale in enumerate(scales):
            if codes.dtype == torch.uint8:
                half = weight.group // 2
                run = codes[number * half : (number + 1) * half].int()
                values = torch.cat([run % 16, run // 16])
            else:
                values = codes[number * weight.group : (number + 1) * weight.group]
            part = scale * (values.float() - weight.zero)
            rows.append(part if weight.offset is None else part + weight.offset[row, number].float())
    return torch.cat(rows).view(len(weight.codes), -1)[:, : weight.columns]


@given(
    rows=st.integers(1, 5),
    groups=st.integers(1, 4),
    group=st.sampled_from([16, 32]),
    cut=st.integers(0, 15),
    bits=st.sampled_from([4, 8]),
    with_offset=st.booleans(),
    seed=st.integers(0, 100),
)
def test_dequantised_is_what_the_definition_says(rows, groups, group, cut, bits, with_offset, seed):
    torch.manual_seed(seed)
    if bits == 4:
        codes = pack_codes(torch.randint(16, (rows, groups, group), dtype=torch.uint8))
    else:
        codes = torch.randint(-128, 128, (rows, groups * group)).to(torch.int8)
    weight = QuantisedWeight(
        codes,
        torch.randn(rows, groups).half(),
        groups * group - cut,
        zero=8 if bits == 4 else 0,
        group=group,
        offset=torch.randn(rows, groups).half() if with_offset else None,
    )
    assert weight.shape == (rows, groups * group - cut)
    # A product of 11 bits with 8 is exact in float32, so there is one rounding however it is computed.
    assert torch.equal(weight.dequantise(), by_hand(weight))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [1, 31, 32, 33, 70])
def test_rounding_errs_by_half_a_step(bits, columns):
    exact = matrix(7, columns)
    weight = quantise(exact, bits)
    step = weight.scale.float().repeat_interleave(32, 1)[:, :columns]
    # The ends are rounded as well: scale and offset are float16.
    assert ((weight.dequantise() - exact).abs() <= 0.5 * step + 4e-3).all()
    assert sum(part.nbytes for part in tensors_of(weight)) <= 7 * -(-columns // 32) * (32 * bits / 8 + 4)


def test_eight_bits_are_those_of_gguf():
    exact = matrix(5, 96)
    ours = quantise(exact, 8).dequantise()
    kind = GGMLQuantizationType.Q8_0
    theirs = torch.from_numpy(dequantize(quantize(exact.numpy(), kind), kind))
    # GGUF rounds to a scale before that is kept in float16, so a code may differ by one.
    torch.testing.assert_close(ours, theirs, atol=float(exact.abs().max()) / 127 * 1.01, rtol=0)
    assert (ours == theirs).float().mean() > 0.95


@pytest.mark.parametrize("bits", [4, 8])
def test_zeros_and_constants_are_exact(bits):
    exact = torch.cat([torch.zeros(2, 40), torch.full((2, 40), 0.5)])
    error = (quantise(exact, bits).dequantise() - exact).abs()
    assert error[:2].max() == 0
    assert error.max() < 3e-4


@pytest.mark.parametrize("bits", [4, 8])
def test_transposed_views_and_large_matrices_are_rounded_alike(bits):
    exact = matrix(600, 64)
    weight = quantise(exact, bits)
    assert torch.equal(quantise(exact.t().contiguous().t(), bits).dequantise(), weight.dequantise())
    long = exact.repeat(PART // exact.numel() + 2, 1)
    assert torch.equal(quantise(long, bits)[600:1200], weight.dequantise())


@pytest.mark.parametrize("bits", [4, 8])
def test_rows(bits):
    weight = quantise(matrix(9, 50), bits)
    every = weight.dequantise()
    ids = torch.tensor([[3, 3], [0, 8]])
    assert torch.equal(weight[ids], every[ids])
    assert torch.equal(weight[2:5], every[2:5])
    assert torch.equal(dense(weight.rows(slice(2, 5))), every[2:5])
    assert weight.rows(slice(2, 5)).codes.data_ptr() == weight.codes[2:].data_ptr()
    assert torch.equal(dense(weight.rows(torch.tensor([7, 1]))), every[[7, 1]])


def test_linear():
    weight, x, bias = quantise(matrix(6, 40), 8), matrix(3, 40, seed=1), torch.ones(6)
    torch.testing.assert_close(linear(x, weight, bias), x @ dense(weight).t() + 1)


def test_scales_beyond_float16_are_refused():
    with pytest.raises(KCircuitsError, match=r"a scale of 1e\+09 is beyond float16"):
        quantise(torch.full((1, 32), 127e9), 8)
