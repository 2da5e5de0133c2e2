"""edge_scores against its reference."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings

from kcircuits.ops import add_edge_scores, edge_scores, edge_scores_reference
from tests.ops.cases import DTYPES, SCORE_CASES, ScoreCase, score_cases, score_inputs, strided
from tests.ops.checks import check_scores, check_traces

OPS = torch.ops.kcircuits
CPU = "cpu"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", SCORE_CASES.values(), ids=SCORE_CASES)
def test_matches_reference(case, dtype):
    check_scores(case, dtype, CPU)


@settings(max_examples=150)
@given(score_cases())
def test_matches_reference_anywhere(case):
    check_scores(case, torch.float32, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["blocks", "few-receivers", "random-limits"])
def test_strided_inputs(name, dtype):
    inputs = score_inputs(SCORE_CASES[name], dtype, CPU)
    expected = edge_scores(**inputs)
    changed = {k: strided(v) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    torch.testing.assert_close(edge_scores(**changed), expected)
    # Prompts before senders, as a forward pass stacks them: rows stay whole.
    for name in ("delta", "grad"):
        inputs[name] = inputs[name].permute(1, 2, 0, 3).contiguous().permute(2, 0, 1, 3)
    torch.testing.assert_close(edge_scores(**inputs), expected)


@pytest.mark.parametrize("per_position", [False, True])
def test_adds_in_place_to_a_slice_and_leaves_non_edges(per_position):
    case = ScoreCase(30, 40, 2, 3, 16, per_position=per_position)
    inputs = score_inputs(case, torch.float32, CPU)
    expected = edge_scores(**inputs)
    whole = torch.full((30, 50, 3) if per_position else (30, 50), 7.0)
    add_edge_scores(whole[:, 5:45], **inputs)
    add_edge_scores(whole[:, 5:45], **inputs)
    torch.testing.assert_close(whole[:, 5:45], 7 + 2 * expected)
    no_edge = torch.arange(30)[:, None] >= inputs["limits"][None, :]
    assert (whole[:, 5:45][no_edge] == 7).all() and (whole[:, :5] == 7).all() and (whole[:, 45:] == 7).all()


def test_positions_of_weight_zero_are_not_read():
    inputs = score_inputs(ScoreCase(20, 30, 2, 5, 24, positions="float"), torch.float32, CPU)
    expected = edge_scores(**inputs)
    padding = inputs["positions"] == 0
    assert padding.any()
    inputs["delta"][:, padding] = float("nan")
    inputs["grad"][:, padding] = float("nan")
    assert torch.equal(edge_scores(**inputs), expected)


def test_long_sums_keep_float32_accuracy():
    delta = torch.rand(4, 1, 4096, 256, generator=torch.Generator().manual_seed(0))
    grad = torch.rand(3, 1, 4096, 256, generator=torch.Generator().manual_seed(1))
    limits = torch.full((3,), 4)
    exact = edge_scores(delta.double(), grad.double(), limits)
    torch.testing.assert_close(edge_scores(delta, grad, limits).double(), exact, rtol=2e-6, atol=0)


def test_gradient_is_refused():
    inputs = score_inputs(SCORE_CASES["few-receivers"], torch.float32, CPU)
    inputs["delta"].requires_grad_()
    with pytest.raises(RuntimeError, match="not implemented"):
        edge_scores(**inputs).sum().backward()


@pytest.mark.parametrize("name", ["ones", "blocks", "random-limits"])
def test_opcheck(name):
    inputs = score_inputs(SCORE_CASES[name], torch.float32, CPU)
    args = [inputs.pop("delta"), inputs.pop("grad"), inputs.pop("limits")]
    torch.library.opcheck(OPS.edge_scores.default, args, inputs)
    scores = edge_scores_reference(*args, **inputs)
    torch.library.opcheck(OPS.edge_scores_.default, [scores, *args], inputs)


@pytest.mark.parametrize("name", ["few-receivers", "random-limits"])
def test_traces(name):
    check_traces(edge_scores, score_inputs(SCORE_CASES[name], torch.float32, CPU))


def test_in_place_traces():
    inputs = score_inputs(SCORE_CASES["blocks"], torch.float32, CPU)

    def twice(scores, **inputs):
        add_edge_scores(scores, **inputs)
        add_edge_scores(scores, **inputs)
        return scores + 1

    scores = torch.zeros(130, 140)
    out = torch.compile(twice, fullgraph=True, backend="aot_eager")(scores, **inputs)
    torch.testing.assert_close(scores, 2 * edge_scores(**inputs))
    torch.testing.assert_close(out, scores + 1)


DELTA = torch.zeros(4, 2, 3, 8)
GRAD = torch.zeros(5, 2, 3, 8)
LIMITS = torch.full((5,), 4)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"delta": DELTA[0]}, "delta must be [S, N, T, D], got [2, 3, 8]"),
        ({"delta": DELTA.long()}, "delta must be float32, float64, bfloat16 or float16, got Long"),
        ({"grad": GRAD.half()}, "grad is Half but delta is Float"),
        (
            {"grad": GRAD[:, :1]},
            "grad must be [R, N, T, D] with the N, T, D of delta [4, 2, 3, 8], got [5, 1, 3, 8]",
        ),
        ({"limits": LIMITS.int()}, "limits must be int64, got Int"),
        ({"limits": LIMITS[:2]}, "limits must be [R] = [5], got [2]"),
        ({"limits": LIMITS + 1}, "limits must be numbers of senders in [0, 4], got 5 for receiver 0"),
        ({"positions": torch.ones(2, 3).long()}, "positions must be bool or floating, got Long"),
        ({"positions": torch.ones(3, 2)}, "positions must be [N, T] = [2, 3], got [3, 2]"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        edge_scores(**{"delta": DELTA, "grad": GRAD, "limits": LIMITS, **change})


@pytest.mark.parametrize(
    "scores, message",
    [
        (torch.zeros(4, 5).half(), "scores must be Float for delta of Float, got Half"),
        (torch.zeros(5, 4), "scores must be [S, R] = [4, 5], got [5, 4]"),
    ],
)
def test_bad_scores(scores, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        add_edge_scores(scores, DELTA, GRAD, LIMITS)
