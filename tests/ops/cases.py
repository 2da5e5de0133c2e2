"""The one table of shapes and inputs for the ops, whatever machine runs them.

A case is a name and plain numbers; `*_inputs` turns it into tensors on a device. CPU, host-emulated
CUDA and real CUDA tests take the same cases and compare with the same references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Against a reference that computes in float32 and rounds once at the end.
TOLERANCE = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2},
    torch.float16: {"rtol": 2e-3, "atol": 2e-3},
}
NORMS = ["none", "layernorm", "rmsnorm"]


def accumulate_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


class Maker:
    """Random tensors of one dtype on one device, the same for a seed wherever they live."""

    def __init__(self, dtype: torch.dtype, device: str, seed: int = 0) -> None:
        self.dtype, self.device = dtype, device
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        values = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return values.to(dtype or self.dtype).to(self.device)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(*shape, generator=self.generator).to(dtype).to(self.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator).to(self.device)


def strided(tensor: Tensor) -> Tensor:
    """The same values with no two neighbours adjacent in memory."""
    wide = tensor.new_zeros(*tensor.shape[:-1], 2 * tensor.shape[-1])
    wide[..., ::2] = tensor
    return wide[..., ::2]


@dataclass(frozen=True)
class MixCase:
    senders: int
    receivers: int
    hypotheses: int | None  # None: mask [R, S]
    prompts: int
    tokens: int
    width: int
    present: float = 0.5  # share of present edges
    weighted: bool = False
    shared: bool = True
    ablated: str = "none"  # none, full, mean (one prompt, one position)
    constant: str = "none"  # none, full, one
    norm: str = "none"
    parameters: str = "none"  # none, one ([D]), each ([R, D])
    unit_offset: bool = False


MIX_CASES = {
    "empty-senders": MixCase(0, 3, None, 2, 3, 8),
    "empty-receivers": MixCase(3, 0, 2, 2, 3, 8),
    "empty-prompts": MixCase(3, 2, None, 0, 3, 8),
    "ones": MixCase(1, 1, None, 1, 1, 1),
    "odd-width": MixCase(9, 5, 3, 2, 3, 33, norm="layernorm", parameters="each"),
    "vector-width": MixCase(20, 30, None, 2, 4, 64, norm="rmsnorm", parameters="one", unit_offset=True),
    "sparse": MixCase(100, 40, None, 1, 3, 48, present=0.01, constant="full"),
    "dense": MixCase(31, 50, None, 2, 3, 48, present=1.0, ablated="full"),
    "dense-random": MixCase(70, 90, 2, 2, 3, 40, present=0.6, ablated="mean", norm="layernorm"),
    "weighted": MixCase(40, 30, None, 2, 3, 64, weighted=True, ablated="full", constant="one"),
    "per-hypothesis": MixCase(12, 9, 5, 2, 3, 24, shared=False, ablated="full", constant="full"),
    "per-hypothesis-weighted": MixCase(
        12, 30, 3, 2, 3, 17, shared=False, weighted=True, ablated="mean", norm="rmsnorm", parameters="one"
    ),
    "many-rows": MixCase(17, 16, 20, 1, 2, 576, present=0.9, norm="rmsnorm", parameters="one"),
}


def mix_inputs(case: MixCase, dtype: torch.dtype, device: str, seed: int = 0) -> dict[str, Any]:
    make = Maker(dtype, device, seed)
    many = case.hypotheses or 1
    sizes = (case.prompts, case.tokens, case.width)
    masks = (case.receivers, *(() if case.hypotheses is None else (many,)), case.senders)
    weights = make.uniform(*masks, dtype=accumulate_dtype(dtype))
    full = (case.senders, *sizes) if case.shared else (case.senders, many, *sizes)
    inputs: dict[str, Any] = {
        "senders": make.normal(*full),
        "mask": weights if case.weighted else weights < case.present,
        "norm": case.norm,
        "unit_offset": case.unit_offset,
    }
    if case.ablated != "none":
        inputs["ablated"] = make.normal(
            *(full if case.ablated == "full" else (case.senders, 1, 1, case.width))
        )
    if case.constant != "none":
        rows = (case.receivers, many * case.prompts, case.tokens) if case.constant == "full" else (1, 1, 1)
        inputs["constant"] = make.normal(*rows, case.width)
    if case.parameters != "none":
        shape = (case.width,) if case.parameters == "one" else (case.receivers, case.width)
        inputs["weight"] = make.normal(*shape)
        inputs["bias"] = make.normal(*shape)
    return inputs


@st.composite
def mix_cases(draw: st.DrawFn) -> MixCase:
    hypotheses = draw(st.sampled_from([None, 1, 2, 5]))
    norm = draw(st.sampled_from(NORMS))
    parameters = draw(st.sampled_from(["none", "one", "each"])) if norm != "none" else "none"
    return MixCase(
        senders=draw(st.integers(1, 70)),
        receivers=draw(st.integers(1, 70)),
        hypotheses=hypotheses,
        prompts=draw(st.integers(1, 3)),
        tokens=draw(st.integers(1, 4)),
        width=draw(st.integers(1, 70)),
        present=draw(st.sampled_from([0.0, 0.01, 0.3, 0.9, 1.0])),
        weighted=draw(st.booleans()),
        shared=hypotheses is None or draw(st.booleans()),
        ablated=draw(st.sampled_from(["none", "full", "mean"])),
        constant=draw(st.sampled_from(["none", "full", "one"])),
        norm=norm,
        parameters=parameters,
        unit_offset=parameters != "none" and draw(st.booleans()),
    )


@dataclass(frozen=True)
class ScoreCase:
    senders: int
    receivers: int
    prompts: int
    tokens: int
    width: int
    limits: str = "causal"  # causal (rising), random, all, zero
    positions: str = "none"  # none, bool, float
    per_position: bool = False


SCORE_CASES = {
    "empty-senders": ScoreCase(0, 3, 2, 2, 8),
    "empty-receivers": ScoreCase(3, 0, 2, 2, 8),
    "empty-tokens": ScoreCase(3, 2, 2, 0, 8, per_position=True),
    "ones": ScoreCase(1, 1, 1, 1, 1, limits="all"),
    "few-receivers": ScoreCase(60, 5, 2, 3, 33),
    "few-senders": ScoreCase(5, 60, 2, 3, 33, positions="bool"),
    "blocks": ScoreCase(130, 140, 2, 5, 64, positions="float"),
    "random-limits": ScoreCase(55, 70, 3, 4, 40, limits="random", per_position=True, positions="float"),
    "no-edges": ScoreCase(20, 30, 1, 2, 16, limits="zero"),
    "per-position": ScoreCase(49, 25, 2, 7, 24, per_position=True, positions="bool"),
    "wide": ScoreCase(17, 16, 2, 3, 1200, limits="all"),
}


def score_inputs(case: ScoreCase, dtype: torch.dtype, device: str, seed: int = 0) -> dict[str, Any]:
    make = Maker(dtype, device, seed)
    sizes = (case.prompts, case.tokens, case.width)
    limits = {
        "causal": torch.linspace(0, case.senders, case.receivers).long(),
        "random": make.integers(case.senders + 1, case.receivers),
        "all": torch.full((case.receivers,), case.senders),
        "zero": torch.zeros(case.receivers, dtype=torch.int64),
    }[case.limits]
    inputs: dict[str, Any] = {
        "delta": make.normal(case.senders, *sizes),
        "grad": make.normal(case.receivers, *sizes),
        "limits": limits.to(device),
        "per_position": case.per_position,
    }
    if case.positions != "none":
        weights = make.uniform(case.prompts, case.tokens)
        kept = weights > 0.4
        inputs["positions"] = kept if case.positions == "bool" else weights * kept
    return inputs


@st.composite
def score_cases(draw: st.DrawFn) -> ScoreCase:
    return ScoreCase(
        senders=draw(st.integers(1, 120)),
        receivers=draw(st.integers(1, 120)),
        prompts=draw(st.integers(1, 3)),
        tokens=draw(st.integers(1, 6)),
        width=draw(st.integers(1, 70)),
        limits=draw(st.sampled_from(["causal", "random", "all", "zero"])),
        positions=draw(st.sampled_from(["none", "bool", "float"])),
        per_position=draw(st.booleans()),
    )


@dataclass(frozen=True)
class ReadoutCase:
    rows: int
    vocabulary: int
    width: int
    targets: int | None = None  # None: no targets; 0: [N]; K: [N, K]
    topk: int = 0
    bias: bool = False
    soft_cap: float = 0.0
    norm: str = "none"
    parameters: bool = False
    unit_offset: bool = False
    scale: bool = False
    rank_range: bool = False


READOUT_CASES = {
    "empty-rows": ReadoutCase(0, 20, 8, targets=0, topk=3),
    "empty-width": ReadoutCase(3, 20, 0, targets=2, topk=3, bias=True),
    "empty-vocabulary": ReadoutCase(3, 0, 8),
    "ones": ReadoutCase(1, 1, 1, targets=0, topk=1),
    "log-sum-exp": ReadoutCase(70, 1003, 64),
    "everything": ReadoutCase(
        50, 997, 33, targets=3, topk=7, bias=True, soft_cap=5.0, norm="layernorm", parameters=True
    ),
    "range": ReadoutCase(37, 997, 33, targets=3, topk=2, bias=True, soft_cap=5.0, rank_range=True),
    "gemma": ReadoutCase(
        17, 500, 40, targets=0, topk=5, soft_cap=3.0, norm="rmsnorm", parameters=True, unit_offset=True
    ),
    "given-scale": ReadoutCase(20, 300, 24, targets=0, norm="layernorm", parameters=True, scale=True),
    "topk-is-vocabulary": ReadoutCase(5, 40, 16, topk=40, targets=40),
    "deep": ReadoutCase(9, 200, 2100, targets=2, topk=2),
    "splits": ReadoutCase(4, 60_000, 8, targets=1, topk=12),
}


def readout_inputs(case: ReadoutCase, dtype: torch.dtype, device: str, seed: int = 0) -> dict[str, Any]:
    make = Maker(dtype, device, seed)
    spread = max(case.width, 1) ** -0.5
    inputs: dict[str, Any] = {
        "rows": make.normal(case.rows, case.width),
        "unembedding": (2 * spread * make.normal(case.vocabulary, case.width).double()).to(dtype),
        "topk": case.topk,
        "soft_cap": case.soft_cap,
        "norm": case.norm,
        "unit_offset": case.unit_offset,
        "rank_range": case.rank_range,
    }
    if case.targets is not None:
        shape = (case.rows, case.targets) if case.targets else (case.rows,)
        inputs["targets"] = make.integers(case.vocabulary, *shape)
    if case.bias:
        inputs["bias"] = make.normal(case.vocabulary)
    if case.parameters:
        inputs["weight"] = make.normal(case.width)
        inputs["norm_bias"] = make.normal(case.width)
    if case.scale:
        inputs["scale"] = make.uniform(case.rows)
    return inputs


@st.composite
def readout_cases(draw: st.DrawFn) -> ReadoutCase:
    vocabulary = draw(st.integers(1, 400))
    norm = draw(st.sampled_from(NORMS))
    parameters = norm != "none" and draw(st.booleans())
    return ReadoutCase(
        rows=draw(st.integers(1, 80)),
        vocabulary=vocabulary,
        width=draw(st.integers(1, 70)),
        targets=draw(st.sampled_from([None, 0, 1, 5])),
        topk=draw(st.integers(0, min(vocabulary, 20))),
        bias=draw(st.booleans()),
        soft_cap=draw(st.sampled_from([0.0, 2.5, 30.0])),
        norm=norm,
        parameters=parameters,
        unit_offset=parameters and draw(st.booleans()),
        scale=norm != "none" and draw(st.booleans()),
        rank_range=draw(st.booleans()),
    )
