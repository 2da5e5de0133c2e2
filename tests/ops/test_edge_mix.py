"""edge_mix against its reference."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings

from kcircuits.ops import edge_mix, edge_mix_reference
from tests.ops.cases import DTYPES, MIX_CASES, MixCase, mix_cases, mix_inputs, strided
from tests.ops.checks import check_mix, check_traces

OP = torch.ops.kcircuits.edge_mix.default
CPU = "cpu"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", MIX_CASES.values(), ids=MIX_CASES)
def test_matches_reference(case, dtype):
    check_mix(case, dtype, CPU)


@settings(max_examples=150)
@given(mix_cases())
def test_matches_reference_anywhere(case):
    check_mix(case, torch.float32, CPU)


@pytest.mark.parametrize("norm", ["none", "layernorm", "rmsnorm"])
@pytest.mark.parametrize("width", [1, 33, 64, 576])
def test_prefix_masks_match_reference(norm, width):
    torch.manual_seed(0)
    senders = torch.randn(9, 2, 3, width)
    removed = torch.arange(9)[None, :] < torch.arange(8)[:, None]
    mask = ~removed.expand(5, 8, 9)
    weight = None if norm == "none" else torch.randn(width)
    torch.testing.assert_close(
        edge_mix(senders, mask, norm=norm, weight=weight),
        edge_mix_reference(senders, mask, norm=norm, weight=weight),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["odd-width", "dense", "per-hypothesis-weighted"])
def test_strided_inputs(name, dtype):
    inputs = mix_inputs(MIX_CASES[name], dtype, CPU)
    expected = edge_mix(**inputs)
    for key, value in inputs.items():
        if isinstance(value, torch.Tensor):
            inputs[key] = strided(value)
    assert torch.equal(edge_mix(**inputs), expected)


@pytest.mark.parametrize("present", [0.05, 0.9])
def test_senders_that_no_row_uses_are_not_read(present):
    inputs = mix_inputs(MixCase(40, 60, None, 2, 2, 32, present=present), torch.float32, CPU)
    unused = torch.tensor([0, 7, 8, 39])
    inputs["mask"][:, unused] = False
    expected = edge_mix(**inputs)
    inputs["senders"][unused] = float("nan")
    assert torch.equal(edge_mix(**inputs), expected)


GRADIENT_CASES = {
    "bool": MixCase(4, 3, 2, 2, 2, 5, ablated="mean", constant="one", norm="layernorm", parameters="each"),
    "weighted": MixCase(
        4, 3, None, 2, 2, 5, weighted=True, ablated="full", constant="full", norm="rmsnorm", parameters="one",
        unit_offset=True,
    ),
    "per-hypothesis": MixCase(3, 4, 2, 1, 2, 3, shared=False, weighted=True, ablated="full"),
    "per-hypothesis-mean": MixCase(3, 4, 2, 1, 2, 3, shared=False, ablated="mean", constant="full"),
}  # fmt: skip


def differentiable(case):
    """The call as a function of its floating tensors, and those tensors."""
    inputs = mix_inputs(case, torch.float64, CPU)
    names = [n for n, v in inputs.items() if isinstance(v, torch.Tensor) and v.is_floating_point()]
    tensors = [inputs[name].requires_grad_() for name in names]
    return lambda *values: edge_mix(**{**inputs, **dict(zip(names, values, strict=True))}), tensors


@pytest.mark.parametrize("case", GRADIENT_CASES.values(), ids=GRADIENT_CASES)
def test_gradients(case):
    call, tensors = differentiable(case)
    assert torch.autograd.gradcheck(call, tensors)


def test_second_gradients():
    call, tensors = differentiable(GRADIENT_CASES["bool"])
    assert torch.autograd.gradgradcheck(call, tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_match_the_reference_in_low_precision(dtype):
    inputs = mix_inputs(GRADIENT_CASES["weighted"], dtype, CPU)
    inputs["eps"] = 0.1
    names = [n for n, v in inputs.items() if isinstance(v, torch.Tensor)]
    tensors = [inputs[name].requires_grad_() for name in names]
    grads = torch.autograd.grad(edge_mix(**inputs).float().square().sum(), tensors)
    expected = torch.autograd.grad(edge_mix_reference(**inputs).float().square().sum(), tensors)
    tolerance = 1e-4 if dtype == torch.float32 else 6e-2
    for grad, want in zip(grads, expected, strict=True):
        assert grad.dtype == want.dtype
        torch.testing.assert_close(grad / want.abs().max(), want / want.abs().max(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["ones", "odd-width", "weighted", "per-hypothesis"])
@pytest.mark.parametrize("grad", [False, True])
def test_opcheck(name, grad):
    inputs = mix_inputs(MIX_CASES[name], torch.float32, CPU)
    if grad:
        inputs["senders"].requires_grad_()
    args = [
        inputs.pop("senders"),
        inputs.pop("mask"),
        inputs.pop("ablated", None),
        inputs.pop("constant", None),
    ]
    torch.library.opcheck(OP, args, inputs)


@pytest.mark.parametrize("name", ["odd-width", "weighted", "per-hypothesis"])
def test_traces(name):
    check_traces(edge_mix, mix_inputs(MIX_CASES[name], torch.float32, CPU))


def test_compiled_gradient():
    call, tensors = differentiable(GRADIENT_CASES["weighted"])
    expected = torch.autograd.grad(call(*tensors).square().sum(), tensors)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    grads = torch.autograd.grad(compiled(*tensors).square().sum(), tensors)
    torch.testing.assert_close(grads, expected)


SENDERS = torch.zeros(3, 2, 4, 8)
MASK = torch.ones(5, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"senders": torch.zeros(3, 8)}, "senders must be [S, P, T, D] or [S, M, P, T, D], got [3, 8]"),
        ({"senders": SENDERS.long()}, "senders must be float32, float64, bfloat16 or float16, got Long"),
        ({"mask": MASK.long()}, "mask must be bool or floating, got Long"),
        ({"mask": MASK[:, :2]}, "mask has 2 senders in its last dimension but senders has 3"),
        ({"senders": torch.zeros(3, 1, 2, 4, 8)}, "mask must be [R, M, S] where senders are [S, M, P, T, D]"),
        ({"ablated": SENDERS.double()}, "ablated is Double but senders is Float"),
        ({"ablated": SENDERS[:2]}, "ablated of shape [2, 2, 4, 8] does not broadcast to [3, 2, 4, 8]"),
        ({"constant": SENDERS}, "constant of shape [3, 2, 4, 8] does not broadcast to [5, 2, 4, 8]"),
        ({"norm": "batchnorm"}, "norm must be 'none', 'layernorm' or 'rmsnorm', got 'batchnorm'"),
        ({"weight": torch.ones(8)}, "weight is given but norm is 'none'"),
        ({"weight": torch.ones(7), "norm": "rmsnorm"}, "weight must be [8] or [5, 8], got [7]"),
        ({"unit_offset": True}, "unit_offset is True but weight is None"),
        ({"eps": -1.0}, "eps must be finite and >= 0, got -1"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        edge_mix(**{"senders": SENDERS, "mask": MASK, **change})
