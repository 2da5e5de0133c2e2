"""Time the CUDA ops, compared with the limits of the device and with plain PyTorch.

Writes `cuda_ops.json` and `cuda_ops.md`. Fractions are relative to the bandwidth of a large copy or the rate
of a large matrix product of the same dtype in the same run, whichever bounds the op. Bytes and FLOP are the
minimum for the op.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kcircuits.ops import edge_mix, edge_scores, vocab_readout

RESULTS = Path(__file__).resolve().parent.parent / "results"
DTYPES = (torch.float32, torch.bfloat16)
Call = Callable[[], Any]


def seconds(call: Call, repeats: int = 20) -> float:
    """Median time of a call on the device, after warm-up calls."""
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return sorted(times)[repeats // 2]


def copy_bandwidth() -> float:
    """Bytes per second of a copy of 1 GiB, read and written."""
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source))


def product_rate(dtype: torch.dtype) -> float:
    """FLOP per second of a square matrix product; float32 without TF32, like the ops."""
    size = 8192
    left, right = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda: left @ right, repeats=5)


def mix_bench(dtype: torch.dtype, chunk: int, width: int, num_senders: int) -> tuple[Call, Call, int, float]:
    """A speculative chunk: hypothesis m lacks the first m of the last senders, for one layer's receivers."""
    receivers, tokens = 15, 6
    senders = torch.randn(num_senders, 1, tokens, width, device="cuda", dtype=dtype)
    order = num_senders - 1 - torch.arange(num_senders, device="cuda")
    mask = (order >= torch.arange(chunk, device="cuda")[:, None]).expand(receivers, chunk, num_senders)
    weight = torch.randn(width, device="cuda", dtype=dtype)
    out = edge_mix(senders, mask, norm="rmsnorm", weight=weight)

    def plain() -> Tensor:
        x = torch.einsum("rms,sptd->rmptd", mask.to(dtype), senders)
        return torch.nn.functional.rms_norm(x, (width,), weight)

    flop = out.numel() * 4.0  # the sums are shared; the norm is not
    return (
        lambda: edge_mix(senders, mask, norm="rmsnorm", weight=weight),
        plain,
        senders.nbytes + out.nbytes,
        flop,
    )


def scores_bench(dtype: torch.dtype, senders: int, receivers: int) -> tuple[Call, Call, int, float]:
    """Gradients of `receivers` receivers against all senders before them, 16 prompts of 12 tokens."""
    delta, grad = (torch.randn(n, 16, 12, 1024, device="cuda", dtype=dtype) for n in (senders, receivers))
    limits = torch.full((receivers,), senders, device="cuda")

    def plain() -> Tensor:
        return torch.einsum("sntd,rntd->sr", delta, grad)

    flop = 2.0 * senders * receivers * delta[0].numel()
    return lambda: edge_scores(delta, grad, limits), plain, delta.nbytes + grad.nbytes, flop


def readout_bench(dtype: torch.dtype, rows: int, vocabulary: int) -> tuple[Call, Call, int, float]:
    """Rank, log-sum-exp and the ten best tokens of each row."""
    width = 1024
    hidden = torch.randn(rows, width, device="cuda", dtype=dtype)
    unembedding = torch.randn(vocabulary, width, device="cuda", dtype=dtype) / 32
    targets = torch.randint(vocabulary, (rows,), device="cuda")

    def plain() -> tuple[Tensor, ...]:
        logits = (hidden @ unembedding.T).float()
        own = logits.gather(1, targets[:, None])
        return own, (logits > own).sum(-1), logits.logsumexp(-1), logits.topk(10).values

    flop = 2.0 * rows * vocabulary * width
    return lambda: vocab_readout(hidden, unembedding, targets, topk=10), plain, unembedding.nbytes, flop


BENCHES: dict[str, Callable[[torch.dtype], tuple[Call, Call, int, float]]] = {
    "edge_mix, 64 hypotheses, width 576": lambda dtype: mix_bench(dtype, 64, 576, 300),
    "edge_mix, 256 hypotheses, width 4096": lambda dtype: mix_bench(dtype, 256, 4096, 800),
    "edge_scores, 600 × 16": lambda dtype: scores_bench(dtype, 600, 16),
    "edge_scores, 600 × 49": lambda dtype: scores_bench(dtype, 600, 49),
    "edge_scores, 1000 × 1000": lambda dtype: scores_bench(dtype, 1000, 1000),
    "vocab_readout, 8 rows × 50,257": lambda dtype: readout_bench(dtype, 8, 50_257),
    "vocab_readout, 512 rows × 50,257": lambda dtype: readout_bench(dtype, 512, 50_257),
    "vocab_readout, 4096 rows × 128,256": lambda dtype: readout_bench(dtype, 4096, 128_256),
}


def measure(name: str, dtype: torch.dtype, bandwidth: float, rate: float) -> dict[str, Any]:
    """One line of the table."""
    op, plain, size, flop = BENCHES[name](dtype)
    time, plain_time = seconds(op), seconds(plain)
    bound = "memory" if size / bandwidth > flop / rate else "compute"
    return {
        "op": name,
        "dtype": str(dtype).removeprefix("torch."),
        "milliseconds": time * 1e3,
        "plain_milliseconds": plain_time * 1e3,
        "gigabytes_per_second": size / time / 1e9,
        "teraflops": flop / time / 1e12,
        "bound": bound,
        "fraction": max(size / bandwidth, flop / rate) / time,
    }


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    rates = ", ".join(f"{dtype} {rate / 1e12:.1f} TFLOP/s" for dtype, rate in record["product_rate"].items())
    lines = [
        f"{record['device']}, torch {record['torch']}, {record['date']}; copy "
        f"{record['copy_bandwidth'] / 1e9:.0f} GB/s, matrix product {rates}.",
        "",
        "| op | dtype | ms | plain PyTorch, ms | GB/s | TFLOP/s | bound | fraction of bound |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        lines.append(
            f"| {row['op']} | {row['dtype']} | {row['milliseconds']:.3f} | {row['plain_milliseconds']:.3f} "
            f"| {row['gigabytes_per_second']:.0f} | {row['teraflops']:.1f} | {row['bound']} "
            f"| {row['fraction']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the JSON and Markdown files")
    options = parser.parse_args()
    bandwidth = copy_bandwidth()
    rates = {dtype: product_rate(dtype) for dtype in DTYPES}
    record = {
        "device": torch.cuda.get_device_name(),
        "host": platform.machine(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "copy_bandwidth": bandwidth,
        "product_rate": {str(dtype).removeprefix("torch."): rate for dtype, rate in rates.items()},
        "rows": [measure(name, dtype, bandwidth, rates[dtype]) for name in BENCHES for dtype in DTYPES],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in (("json", json.dumps(record, indent=2) + "\n"), ("md", table(record))):
        partial = options.out / f"cuda_ops.{name}.partial"
        partial.write_text(text)
        partial.replace(options.out / f"cuda_ops.{name}")
    print(table(record))


if __name__ == "__main__":
    main()
