"""The fused ops against the obvious PyTorch code, eager and compiled, in one run.

    python benchmarks/bench_ops.py [--quick] [--json FILE]

Every line is one op at one shape: processor time per call (the least of several calls, so that a busy
machine disturbs little) and the ratios obvious / fused and compiled / fused. Bigger is better, 1 is a
tie. vocab_readout is also measured for the peak of its memory.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kcircuits.ops import edge_mix, edge_scores, vocab_readout


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


@dataclass(frozen=True)
class Result:
    op: str
    shape: str
    detail: str
    fused_ms: float
    obvious: float  # ratios to fused
    compiled: float


def milliseconds(call: Callable[[], Any], calls: int) -> float:
    """Processor time of one call, all threads together, over the number of threads."""
    call()
    best = float("inf")
    for _ in range(calls):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return 1e3 * best / torch.get_num_threads()


def compare(
    op: str, shape: str, detail: str, fused: Callable, obvious: Callable, args: tuple, calls: int
) -> Result:
    compiled = torch.compile(obvious)
    torch._dynamo.reset()
    ms = milliseconds(lambda: fused(*args), calls)
    return Result(
        op,
        shape,
        detail,
        ms,
        milliseconds(lambda: obvious(*args), calls) / ms,
        milliseconds(lambda: compiled(*args), calls) / ms,
    )


def obvious_mix(senders: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    flat = mask.to(senders.dtype).flatten(0, 1) @ senders.flatten(1)
    x = flat.view(mask.shape[0], -1, *senders.shape[2:])
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight


def mix_results(calls: int) -> Iterator[Result]:
    settings = [(SMOLLM2, 1, 4, 6), (SMOLLM2, 16, 2, 6), (LLAMA, 1, 1, 4)]
    for shape, hypotheses, prompts, tokens in settings:
        senders = torch.randn(shape.senders, prompts, tokens, shape.width)
        weight = torch.randn(shape.width)
        uniform = torch.rand(shape.receivers, hypotheses, shape.senders)
        masks = {f"{share:.0%} present": uniform < share for share in (0.01, 0.1, 1.0)}
        masks["weighted"] = uniform
        for name, mask in masks.items():
            yield compare(
                "edge_mix",
                shape.name,
                f"{shape.receivers}x{hypotheses} rows, {prompts * tokens} positions, {name}",
                lambda s, m, w: edge_mix(s, m, norm="rmsnorm", weight=w),
                obvious_mix,
                (senders, mask, weight),
                calls,
            )


def obvious_scores(delta: Tensor, grad: Tensor, limits: Tensor) -> Tensor:
    scores = delta.flatten(1) @ grad.flatten(1).t()
    return scores.where(torch.arange(len(delta))[:, None] < limits, 0)


def score_results(calls: int) -> Iterator[Result]:
    whole = Shape("SmolLM2-135M, all layers", 301, 481, 576, 0)
    for shape, prompts, tokens in [(whole, 2, 6), (SMOLLM2, 8, 6), (LLAMA, 1, 4)]:
        delta = torch.randn(shape.senders, prompts, tokens, shape.width)
        grad = torch.randn(shape.receivers, prompts, tokens, shape.width)
        everything = torch.full((shape.receivers,), shape.senders)
        causal = torch.linspace(1, shape.senders, shape.receivers).long()
        kinds = {"all pairs": everything, "causal": causal} if shape is whole else {"all pairs": everything}
        for name, limits in kinds.items():
            yield compare(
                "edge_scores",
                shape.name,
                f"{shape.senders} x {shape.receivers}, {prompts * tokens} positions, {name}",
                edge_scores,
                obvious_scores,
                (delta, grad, limits),
                calls,
            )


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


def readout_results(calls: int) -> Iterator[Result]:
    for shape, counts in [(SMOLLM2, (8, 64, 512)), (LLAMA, (8, 64))]:
        unembedding = torch.randn(shape.vocabulary, shape.width) * shape.width**-0.5
        for rows in counts:
            x = torch.randn(rows, shape.width)
            detail = f"{rows} rows x {shape.vocabulary} x {shape.width}"
            yield compare("log-sum-exp", shape.name, detail, fused_lse, obvious_lse, (x, unembedding), calls)
        rows = 1800 if shape is SMOLLM2 else 128
        args = (torch.randn(rows, shape.width), unembedding, torch.randint(shape.vocabulary, (rows,)))
        detail = f"{rows} rows x {shape.vocabulary} x {shape.width}, rank and top 10"
        yield compare(
            "vocab_readout", shape.name, detail, fused_readout, obvious_readout, args, min(calls, 3)
        )


def extra_memory(way: str) -> float:
    """MiB that one call of `way` adds to the peak of a fresh process."""
    code = f"""
import resource, torch
from benchmarks.bench_ops import {way} as call
args = torch.randn(1800, 576), torch.randn(49_152, 576), torch.randint(49_152, (1800,))
call(args[0][:32], args[1][:512], args[2][:32] % 512)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
call(*args)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    root = Path(__file__).resolve().parent.parent
    out = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    return int(out.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer calls per measurement")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    calls = 3 if options.quick else 10
    torch.manual_seed(0)
    results = []
    print(f"{'op':14}{'shape':26}{'detail':52}{'fused ms':>10}{'obvious':>9}{'compiled':>9}")
    for make in (mix_results, score_results, readout_results):
        for result in make(calls):
            results.append(result)
            print(
                f"{result.op:14}{result.shape:26}{result.detail:52}{result.fused_ms:10.2f}"
                f"{result.obvious:8.2f}x{result.compiled:8.2f}x",
                flush=True,
            )
    memory = {way: extra_memory(way) for way in ("fused_readout", "obvious_readout")}
    print("peak extra memory, 1800 rows x 49152 x 576:", {k: f"{v:.0f} MiB" for k, v in memory.items()})
    if options.json:
        machine = {
            "processor": platform.processor() or platform.machine(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d"),
        }
        record = {"machine": machine, "results": [asdict(r) for r in results], "extra_memory_mib": memory}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
