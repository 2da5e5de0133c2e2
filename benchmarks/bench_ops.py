"""The fused ops compared with straightforward PyTorch code, eager and compiled, in one run.

    make bench

Each group is one op at one shape. `benchmarks/ratios.py` prints obvious / fused and compiled / fused.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kcircuits.ops import edge_mix, edge_scores, vocab_readout

ROUNDS = 15


@dataclass(frozen=True)
class Shape:
    """A layer of a model: the senders before it, the receivers in it."""

    name: str
    senders: int
    receivers: int
    width: int
    vocabulary: int


SMOLLM2 = Shape("SmolLM2-135M layer 27", 1 + 27 * 10, 16, 576, 49_152)
LLAMA = Shape("LLaMA-7B layer 30", 1 + 30 * 33, 97, 4096, 32_000)
WHOLE = Shape("SmolLM2-135M, all layers", 301, 481, 576, 0)


@dataclass(frozen=True)
class Case:
    """One op at one shape: two ways to compute it, and a function that makes their arguments."""

    op: str
    shape: str
    detail: str
    fused: Callable[..., Any]
    obvious: Callable[..., Any]
    arguments: Callable[[], tuple[Tensor, ...]]
    gemm: Callable[..., Any] | None = None  # the machine's fastest product of that shape alone

    @property
    def title(self) -> str:
        return f"{self.op} | {self.shape} | {self.detail}"


def fused_mix(senders: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    return edge_mix(senders, mask, norm="rmsnorm", weight=weight)


def obvious_mix(senders: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    flat = mask.to(senders.dtype).flatten(0, 1) @ senders.flatten(1)
    x = flat.view(mask.shape[0], -1, *senders.shape[2:])
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight


def mix_cases() -> Iterator[Case]:
    for shape, hypotheses, prompts, tokens in [(SMOLLM2, 1, 4, 6), (SMOLLM2, 16, 2, 6), (LLAMA, 1, 1, 4)]:
        for share in (0.01, 0.1, 1.0, None):

            def arguments(shape=shape, hypotheses=hypotheses, prompts=prompts, tokens=tokens, share=share):
                senders = torch.randn(shape.senders, prompts, tokens, shape.width)
                mask = torch.rand(shape.receivers, hypotheses, shape.senders)
                return senders, mask if share is None else mask < share, torch.randn(shape.width)

            present = "weights" if share is None else f"{share:.0%} present"
            detail = f"{shape.receivers}x{hypotheses} rows, {prompts * tokens} positions, {present}"
            yield Case("edge_mix", shape.name, detail, fused_mix, obvious_mix, arguments)


def obvious_scores(delta: Tensor, grad: Tensor, limits: Tensor) -> Tensor:
    scores = delta.flatten(1) @ grad.flatten(1).t()
    return scores.where(torch.arange(len(delta))[:, None] < limits, 0)


def gemm_scores(delta: Tensor, grad: Tensor, limits: Tensor) -> Tensor:
    """All pairs by oneDNN, which is twice as fast as torch.mm's BLAS on processors with AVX-512."""
    return torch.ops.mkldnn._linear_pointwise(delta.flatten(1), grad.flatten(1), None, "none", [], "")


def score_cases() -> Iterator[Case]:
    for shape, prompts, tokens, causal in [
        (WHOLE, 2, 6, False),
        (WHOLE, 2, 6, True),
        (SMOLLM2, 8, 6, False),
        (LLAMA, 1, 4, False),
    ]:

        def arguments(shape=shape, prompts=prompts, tokens=tokens, causal=causal):
            delta = torch.randn(shape.senders, prompts, tokens, shape.width)
            grad = torch.randn(shape.receivers, prompts, tokens, shape.width)
            limits = torch.linspace(1, shape.senders, shape.receivers).long()
            return delta, grad, limits if causal else torch.full_like(limits, shape.senders)

        kind = "causal" if causal else "all pairs"
        detail = f"{shape.senders} x {shape.receivers}, {prompts * tokens} positions, {kind}"
        yield Case("edge_scores", shape.name, detail, edge_scores, obvious_scores, arguments, gemm_scores)


def obvious_readout(rows: Tensor, unembedding: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    logits = rows @ unembedding.t()
    own = logits.gather(1, targets.unsqueeze(1))
    top = logits.topk(10)
    return own, 1 + (logits > own).sum(-1), logits.logsumexp(-1), top.values, top.indices


def fused_readout(rows: Tensor, unembedding: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    return tuple(vocab_readout(rows, unembedding, targets, topk=10))


def obvious_lse(rows: Tensor, unembedding: Tensor) -> Tensor:
    return (rows @ unembedding.t()).logsumexp(-1)


def fused_lse(rows: Tensor, unembedding: Tensor) -> Tensor:
    return vocab_readout(rows, unembedding).log_sum_exp


def readout_cases() -> Iterator[Case]:
    def arguments(shape: Shape, rows: int, with_targets: bool) -> tuple[Tensor, ...]:
        x = torch.randn(rows, shape.width)
        unembedding = torch.randn(shape.vocabulary, shape.width) * shape.width**-0.5
        return (
            (x, unembedding, torch.randint(shape.vocabulary, (rows,))) if with_targets else (x, unembedding)
        )

    for shape, counts, all_rows in [(SMOLLM2, (8, 64, 512), 1800), (LLAMA, (8, 64), 128)]:
        for rows in counts:
            detail = f"{rows} x {shape.vocabulary} x {shape.width}"
            yield Case(
                "log-sum-exp", shape.name, detail, fused_lse, obvious_lse,
                lambda shape=shape, rows=rows: arguments(shape, rows, False),
            )  # fmt: skip
        detail = f"{all_rows} x {shape.vocabulary} x {shape.width}, rank and top 10"
        yield Case(
            "vocab_readout", shape.name, detail, fused_readout, obvious_readout,
            lambda shape=shape, rows=all_rows: arguments(shape, rows, True),
        )  # fmt: skip


CASES = [*mix_cases(), *score_cases(), *readout_cases()]


@lru_cache(maxsize=1)
def arguments_of(index: int) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    return CASES[index].arguments()


@pytest.mark.parametrize("way", ["fused", "obvious", "compiled", "gemm"])
@pytest.mark.parametrize("index", range(len(CASES)), ids=[case.title for case in CASES])
def test_op(index: int, way: str, benchmark: Any) -> None:
    case = CASES[index]
    call = {"fused": case.fused, "gemm": case.gemm}.get(way, case.obvious)
    if call is None:
        pytest.skip("only a matrix product has the machine's product to compare with")
    if way == "compiled":
        torch._dynamo.reset()
        call = torch.compile(case.obvious)
    benchmark.group = case.title
    benchmark.extra_info["way"] = way
    benchmark.pedantic(call, args=arguments_of(index), rounds=ROUNDS, warmup_rounds=3)


def extra_memory(way: str) -> float:
    """MiB that one call of `way` adds to the peak of a fresh process."""
    code = f"""
import torch
from bench_ops import {way} as call

def peak():  # of this process only: ru_maxrss would include its parent's memory
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])

args = torch.randn(1800, 576), torch.randn(49_152, 576), torch.randint(49_152, (1800,))
call(args[0][:32], args[1][:512], args[2][:32] % 512)
before = peak()
call(*args)
print(peak() - before)
"""
    folder = Path(__file__).resolve().parent
    out = subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True)
    return int(out.stdout) / 1024


def test_readout_memory(record_property: Callable[[str, float], None]) -> None:
    fused, obvious = extra_memory("fused_readout"), extra_memory("obvious_readout")
    print(f"peak extra memory, 1800 x 49152 x 576: fused {fused:.0f} MiB, obvious {obvious:.0f} MiB")
    assert fused <= obvious / 10
