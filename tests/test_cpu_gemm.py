"""The CPU's own float32 products against float64, in every instruction set torch can be told to use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from kcircuits._native import C as native
from kcircuits.model.quantised import dense, quantise
from tests.covers import pairwise

ROWS = [0, 1, 5, 6, 7, 16, 17, 63, 64, 65, 100, 129, 513]
COLUMNS = [1, 5, 6, 7, 64, 577]
DEPTHS = [1, 3, 16, 64, 65, 576, 1537]


def strided(rows: int, columns: int, layout: str) -> torch.Tensor:
    """A random [rows, columns] matrix: dense, a slice of a wider one, or transposed."""
    if layout == "dense":
        return torch.randn(rows, columns)
    if layout == "slice":
        return torch.randn(rows + 1, columns + 7)[1:, 3 : columns + 3]
    if layout == "transposed":
        return torch.randn(columns, rows + 5)[:, 2 : rows + 2].t()
    assert layout == "gaps"
    return torch.randn(rows, 2 * columns)[:, ::2]


def tolerance(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """What float32 sums of this length may be off by, entry by entry."""
    return 2e-7 * (4 + x.size(1) ** 0.5) * (x.abs().double() @ w.abs().double().t()) + 1e-6


def assert_close_to_double(
    actual: torch.Tensor, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None
) -> None:
    expected = x.double() @ w.double().t()
    if bias is not None:
        expected = expected + bias.double()
    assert actual.shape == expected.shape
    assert actual.dtype == torch.float32
    assert ((actual.double() - expected).abs() <= tolerance(x, w)).all()


@pairwise(k=DEPTHS, n=COLUMNS, layout=["dense", "slice", "transposed"])
def test_linear_matches_double(layout, n, k):
    torch.manual_seed(0)
    w = strided(n, k, layout)
    bias = torch.randn(n)
    for m in ROWS:
        x = torch.randn(m, k)
        assert_close_to_double(native.cpu_linear(x, w, None), x, w, None)
        assert_close_to_double(native.cpu_linear(x, w, bias), x, w, bias)


@pytest.mark.parametrize("x_layout", ["dense", "slice", "transposed", "gaps"])
@pytest.mark.parametrize("w_layout", ["dense", "slice", "transposed", "gaps"])
def test_linear_takes_views(x_layout, w_layout):
    torch.manual_seed(0)
    for m in (1, 7, 65):
        x, w, bias = strided(m, 70, x_layout), strided(50, 70, w_layout), torch.randn(100)[::2]
        assert_close_to_double(native.cpu_linear(x, w, bias), x, w, bias)


def test_linear_takes_expanded_rows():
    x, w = torch.randn(1, 40).expand(20, 40), torch.randn(30, 40)
    assert_close_to_double(native.cpu_linear(x, w, None), x, w, None)


@pytest.mark.parametrize("m", [3, 200])
@pytest.mark.parametrize("layout", ["dense", "transposed"])
def test_linear_splits_deep_products_and_many_rows(layout, m):
    torch.manual_seed(0)
    x, w = torch.randn(m, 5000), strided(70, 5000, layout)
    assert_close_to_double(native.cpu_linear(x, w, None), x, w, None)


def test_linear_takes_more_rows_than_are_packed_at_once():
    torch.manual_seed(0)
    x, w = torch.randn(3001, 1536), torch.randn(40, 1536)
    assert_close_to_double(native.cpu_linear(x, w, None), x, w, None)


@pytest.mark.parametrize("bias", [False, True])
def test_linear_of_no_depth_is_the_bias(bias):
    shift = torch.randn(3) if bias else None
    out = native.cpu_linear(torch.empty(2, 0), torch.empty(3, 0), shift)
    torch.testing.assert_close(out, shift.expand(2, 3) if bias else torch.zeros(2, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_linear_of_other_dtypes(dtype):
    x, w, bias = torch.randn(7, 20).to(dtype), torch.randn(5, 20).to(dtype), torch.randn(5).to(dtype)
    torch.testing.assert_close(native.cpu_linear(x, w, bias), torch.nn.functional.linear(x, w, bias))


@pytest.mark.parametrize("k", [64, 577, 3100])
def test_linear_gives_a_row_the_same_bits_in_every_batch_and_layout(k):
    torch.manual_seed(0)
    x, w, bias = torch.randn(150, k), torch.randn(101, k), torch.randn(101)
    whole = native.cpu_linear(x, w, bias)
    by_columns = w.t().contiguous().t()
    for m in (1, 2, 7, 8, 9, 33, 65, 150):
        assert native.cpu_linear(x[:m], w, bias).equal(whole[:m])
        assert native.cpu_linear(x[:m], by_columns, bias).equal(whole[:m])
    assert native.cpu_linear(x, w[5:6], bias[5:6]).equal(whole[:, 5:6])


@pytest.mark.parametrize("kept", [torch.bfloat16, torch.float16, 8, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_linear_reads_a_weight_as_it_is_stored(kept, transposed):
    """What is made in pieces has the bits of the widened matrix, whatever its sides."""
    torch.manual_seed(0)
    for n, k in [(1, 1), (5, 33), (101, 577), (48, 5000)]:
        narrow = (
            torch.randn(n, k).to(kept) if isinstance(kept, torch.dtype) else quantise(torch.randn(n, k), kept)
        )
        if transposed and not isinstance(narrow, torch.Tensor):
            continue  # only the engine turns codes, for gradients: tests/engine/test_quantised.py
        w = narrow.t().contiguous().t() if transposed else narrow
        bias = torch.randn(n).bfloat16()
        for m in (1, 3, 17, 100):
            x = torch.randn(m, k)
            assert native.cpu_linear(x, w, bias).equal(
                native.cpu_linear(x, dense(narrow).float(), bias.float())
            )


ACTIVATIONS = {
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "relu": torch.nn.functional.relu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
}


@pairwise(activation=list(ACTIVATIONS), layout=["dense", "slice", "transposed", "gaps"], bias=[False, True])
def test_gated_linear_equals_its_parts(activation, layout, bias):
    torch.manual_seed(0)
    for m, n, k in [(0, 5, 8), (1, 7, 16), (6, 101, 33), (65, 130, 576), (20, 48, 3100)]:
        x, w, w_gate = torch.randn(m, k), strided(n, k, layout), strided(n, k, layout)
        b, b_gate = (torch.randn(n), torch.randn(n)) if bias else (None, None)
        gated = native.cpu_gated_linear(x, w, b, w_gate, b_gate, activation)
        gate = native.cpu_linear(x, w_gate, b_gate).double()
        product = native.cpu_linear(x, w, b).double()
        error = (gated.double() - ACTIVATIONS[activation](gate) * product).abs()
        # 1 + erf and 1 + tanh cancel for negative gates: errors are small beside the gate, not the result.
        assert (error <= 1e-6 * (gate * product).abs() + 1e-12).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_gated_linear_of_codes(bits):
    torch.manual_seed(0)
    w, w_gate = quantise(torch.randn(101, 577), bits), quantise(torch.randn(101, 577), bits)
    for m in (1, 17, 100):
        x = torch.randn(m, 577)
        expected = native.cpu_gated_linear(x, dense(w), None, dense(w_gate), None, "silu")
        assert native.cpu_gated_linear(x, w, None, w_gate, None, "silu").equal(expected)


def test_linear_keeps_infinities_and_nans_in_their_rows():
    x, w = torch.randn(20, 64), torch.randn(30, 64)
    x[3, 5], x[7, 9] = torch.inf, torch.nan
    out = native.cpu_linear(x, w, None)
    assert out[7].isnan().all()
    assert not out[3].isfinite().any()
    others = [i for i in range(20) if i not in (3, 7)]
    assert out[others].isfinite().all()


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_other_instruction_sets(capability):
    if os.environ.get("ATEN_CPU_CAPABILITY"):
        pytest.skip("already running in a chosen instruction set")
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", __file__],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
