"""GFLOP/s of the package's own products compared with torch's two libraries, interleaved.

Columns: `own` (csrc/cpu/gemm.cpp), `blas` (torch.nn.functional.linear, MKL) and `onednn`
(torch's fused oneDNN linear; absent if the weight has gaps between its rows, for which oneDNN
falls back to a reference loop). Times are the best of several rounds, which excludes load by other programs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from kcircuits._native import C as native

SHAPES = {  # name: (N, K, layout)
    "head 64x576": (64, 576, "dense"),
    "head slice 576x64": (576, 64, "slice"),
    "square 576x576": (576, 576, "dense"),
    "up 1536x576": (1536, 576, "dense"),
    "down 576x1536": (576, 1536, "dense"),
    "vocabulary 49152x576": (49152, 576, "dense"),
    "conv1d head 64x768": (64, 768, "conv1d"),
    "conv1d up 3072x768": (3072, 768, "conv1d"),
}
ROWS = [1, 6, 8, 16, 48, 64, 100, 192, 512, 2048]


def weight(n: int, k: int, layout: str) -> torch.Tensor:
    if layout == "slice":  # one head's part of an output projection
        return torch.randn(n, 9 * k)[:, 2 * k : 3 * k]
    if layout == "conv1d":  # stored [K, N]; a head's part when it is narrow
        return torch.randn(k, 36 * n if n < k else n)[:, :n].t()
    return torch.randn(n, k)


def contenders(x: torch.Tensor, w: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    calls = {
        "own": lambda: native.cpu_linear(x, w, None),
        "blas": lambda: torch.nn.functional.linear(x, w),
    }
    if w.is_contiguous() or w.t().is_contiguous():
        fused = torch.ops.mkldnn._linear_pointwise
        calls["onednn"] = lambda: fused(x, w, None, "none", [], "")
    return calls


def best_seconds(calls: dict[str, Callable[[], torch.Tensor]], budget: float) -> dict[str, float]:
    """Best time of each call over rounds that run all calls, for about `budget` seconds."""
    best = dict.fromkeys(calls, float("inf"))
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(2e-4 / (time.perf_counter() - start)))
    end = time.perf_counter() + budget
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            best[name] = min(best[name], (time.perf_counter() - start) / repeats[name])
        rounds += 1
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="*", help="names that contain one of these words")
    parser.add_argument("--rows", nargs="*", type=int, default=ROWS)
    parser.add_argument("--budget", type=float, default=0.25, help="seconds for each line")
    arguments = parser.parse_args()
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {capability}")
    print(f"{'shape':22}{'M':>6}{'own':>9}{'blas':>9}{'onednn':>9}   GFLOP/s")
    for name, (n, k, layout) in SHAPES.items():
        if arguments.shapes and not any(word in name for word in arguments.shapes):
            continue
        w = weight(n, k, layout)
        for m in arguments.rows:
            best = best_seconds(contenders(torch.randn(m, k), w), arguments.budget)
            rates = {call: 2e-9 * m * n * k / seconds for call, seconds in best.items()}
            line = "".join(
                f"{rates[call]:9.1f}" if call in rates else f"{'-':>9}" for call in ("own", "blas", "onednn")
            )
            behind = "" if rates["own"] >= max(rates.values()) else "behind"
            print(f"{name:22}{m:6}{line}   {behind}", flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
