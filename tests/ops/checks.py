"""What every backend's kernels must satisfy: one comparison per op, and the compiler's checks.

`op` is the function under test where it is not the package's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kcircuits.ops import (
    edge_mix,
    edge_mix_reference,
    edge_scores,
    edge_scores_reference,
    vocab_readout,
    vocab_readout_reference,
)
from tests.ops.cases import (
    TOLERANCE,
    MixCase,
    ReadoutCase,
    ScoreCase,
    accumulate_dtype,
    mix_inputs,
    readout_inputs,
    score_inputs,
)


def check_mix(case: MixCase, dtype: torch.dtype, device: str, op: Callable[..., Any] = edge_mix) -> None:
    """Close to the float64 result, as close as rounding the sums allows where a norm magnifies it."""
    inputs = mix_inputs(case, dtype, device)
    out = op(**inputs)
    assert out.dtype == dtype and out.is_contiguous()
    exact = {name: in_double(value) for name, value in inputs.items()}
    expected = edge_mix_reference(**exact)
    assert out.shape == expected.shape
    close = TOLERANCE[dtype]
    allowed = close["atol"] + close["rtol"] * expected.abs() + normed_rounding(exact, accumulate_dtype(dtype))
    error = (out.double() - expected).abs()
    assert (error <= allowed).all(), f"off by {(error / allowed).max():.3g} times what is allowed"


def in_double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def normed_rounding(exact: dict[str, Any], accumulate: torch.dtype) -> Tensor | float:
    """What a few roundings of each sum become behind the norm: they are divided by the row's deviation,
    which may be tiny beside the terms (two equal elements, terms that cancel)."""
    norm = exact.get("norm", "none")
    if norm == "none":
        return 0.0
    terms = {name: exact[name] for name in ("senders", "mask", "ablated", "constant") if name in exact}
    stream = edge_mix_reference(**terms)
    sizes = {name: value if value is None else value.abs() for name, value in terms.items() if name != "mask"}
    size = edge_mix_reference(mask=terms["mask"], **sizes)  # Σ |term|
    if norm == "layernorm":
        stream = stream - stream.mean(-1, keepdim=True)
        size = size.amax(-1, keepdim=True)
    deviation = (stream.square().mean(-1, keepdim=True) + exact.get("eps", 1e-5)).sqrt()
    weight = exact.get("weight")
    gain = 1.0 if weight is None else 1.0 + float(weight.abs().amax()) if weight.numel() else 1.0
    roundings = 4 * torch.finfo(accumulate).eps
    return roundings * gain * size / deviation


def check_scores(
    case: ScoreCase, dtype: torch.dtype, device: str, op: Callable[..., Any] = edge_scores
) -> None:
    inputs = score_inputs(case, dtype, device)
    scores = op(**inputs)
    exact = {name: inputs[name].double() for name in ("delta", "grad")}
    expected = edge_scores_reference(**{**inputs, **exact})
    assert scores.dtype == accumulate_dtype(dtype)
    size = max(case.prompts * case.tokens * case.width, 1) ** 0.5  # of a sum of that many products
    tolerance = TOLERANCE[accumulate_dtype(dtype)]
    torch.testing.assert_close(scores.double() / size, expected / size, **tolerance)


def check_readout(
    case: ReadoutCase, dtype: torch.dtype, device: str, op: Callable[..., Any] = vocab_readout
) -> None:
    """Values close; ranks and ids right up to logits closer than the values' tolerance."""
    inputs = readout_inputs(case, dtype, device)
    out = op(**inputs)
    expected = vocab_readout_reference(**inputs)
    accumulate = accumulate_dtype(dtype)
    close = TOLERANCE[accumulate]
    for name in ("target_logits", "log_sum_exp", "topk_values"):
        value = getattr(out, name)
        assert value.dtype == (torch.float64 if name == "log_sum_exp" else accumulate)
        torch.testing.assert_close(value, getattr(expected, name), **close)
    everything = vocab_readout_reference(
        **{**inputs, "topk": case.vocabulary, "soft_cap": 0.0, "targets": None}
    )
    scores = torch.empty_like(everything.topk_values).scatter_(1, everything.topk_ids, everything.topk_values)
    margin = close["atol"] + close["rtol"] * scores.abs().amax() if scores.numel() else 0
    if case.targets is not None:
        targets = inputs["targets"].view(case.rows, max(case.targets, 1))
        own = scores.gather(1, targets).unsqueeze(2)
        ranks = out.ranks
        if case.rank_range:
            ranks, last = ranks.unbind(-1)
            last = last.view(targets.shape)
            assert (last <= case.vocabulary - (scores.unsqueeze(1) < own - margin).sum(-1)).all()
            assert (last >= case.vocabulary - (scores.unsqueeze(1) < own + margin).sum(-1)).all()
        ranks = ranks.view(targets.shape)
        assert (ranks >= 1 + (scores.unsqueeze(1) > own + margin).sum(-1)).all()
        assert (ranks <= 1 + (scores.unsqueeze(1) > own - margin).sum(-1)).all()
    if case.topk:
        best = scores.gather(1, out.topk_ids)
        assert (best[:, :-1] >= best[:, 1:] - margin).all()
        assert all(len(set(ids)) == case.topk for ids in out.topk_ids.tolist())


class _Call(nn.Module):
    """The op's call with its plain arguments bound, as torch.export wants it."""

    def __init__(self, op: Callable[..., Any], fixed: dict[str, Any]) -> None:
        super().__init__()
        self.op, self.fixed = op, fixed

    def forward(self, **tensors: Tensor) -> Any:
        return self.op(**tensors, **self.fixed)


def check_traces(op: Callable[..., Any], inputs: dict[str, Any]) -> None:
    """torch.compile in one graph and torch.export give what the op gives."""
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    fixed = {name: value for name, value in inputs.items() if not isinstance(value, Tensor)}
    expected = op(**inputs)
    call = _Call(op, fixed)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager", dynamic=True)(**tensors)
    torch.testing.assert_close(compiled, expected)
    exported = torch.export.export(call, (), tensors).module()(**tensors)
    torch.testing.assert_close(exported, expected)
