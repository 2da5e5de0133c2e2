"""Profile of two ACDC searches on SmolLM2-135M, compared with the speed of a large product.

`kcircuits discover --profile` prints the same for any search, layer by layer.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import torch
from bench_acdc import CASES, Case, prompts_of
from machine import write_results

import kcircuits
from kcircuits._native import C
from kcircuits.cli.profile_table import rows_of_products
from kcircuits.engine.profile import FAST, Total, profile_call
from kcircuits.model.quantised import dense
from kcircuits.model.spec import Mlp

ROWS = (1, 4, 16, 32, 64, 128, 512)


def run(case: Case, model: kcircuits.Model) -> dict[str, Any]:
    """One search, profiled."""
    task = kcircuits.Task(prompts_of(case, model), case.ablation)
    search = partial(kcircuits.discover, model, task, kcircuits.Acdc(threshold=case.threshold))
    circuit, profile = profile_call(search)
    by_op = {**profile.by(lambda work: work.name), "Python": Total(profile.python_seconds, 0, 0)}
    by_rows = sorted(profile.products().by(lambda work: work.rows).items())
    return {
        "case": f"{case.name} ablation, τ = {case.threshold}",
        "seconds": round(profile.seconds, 3),
        "tests": circuit.stats["tests"],
        "evaluations": circuit.stats["evaluations"],
        "batches": circuit.stats["chunks"],
        "gemm_gflops": round(profile.gemm_flops / 1e9, 1),
        "products_share": round(profile.products_share(), 4),
        "fast_products_share": round(profile.products_share(FAST), 4),
        "ops": [{"op": op, **numbers(total)} for op, total in by_op.items()],
        "products_by_rows": [{"rows": rows_of_products(rows), **numbers(total)} for rows, total in by_rows],
        "layers": [
            {"layer": layer, "op": op, **numbers(total)}
            for (layer, op), total in profile.by(lambda work: (work.layer, work.name)).items()
        ],
    }


def memory_speed() -> float:
    """Bytes per second that all threads together read from an array larger than any cache."""
    numbers = torch.ones(2**27)
    return numbers.nbytes / best_seconds(numbers.sum)


def products_alone(model: kcircuits.Model, rows: int) -> dict[str, float]:
    """GFLOP/s of products of the MLPs' first matrices with `rows` rows, and of one of them repeated."""
    mlps = [layer.mlp for layer in model.spec.layers]
    weights = [dense(mlp.w_up) for mlp in mlps if isinstance(mlp, Mlp)]
    x = torch.randn(rows, weights[0].shape[1])
    flop = 2 * rows * weights[0].numel() * len(weights) / 1e9
    return {
        "rows": rows,
        "from_memory_gflops": round(flop / best_seconds(lambda: [C.cpu_linear(x, w) for w in weights]), 1),
        "from_cache_gflops": round(
            flop / best_seconds(lambda: [C.cpu_linear(x, weights[0]) for _ in weights]), 1
        ),
    }


def best_seconds(run: Callable[[], Any]) -> float:
    times = []
    for _ in range(10):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)


def numbers(total: Total) -> dict[str, float]:
    return {
        "seconds": round(total.seconds, 4),
        "gflop": round(total.flop / 1e9, 3),
        "gb": round(total.bytes / 1e9, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    model = kcircuits.load_model("demo")
    cases = [run(case, model) for case in CASES]
    for case in cases:
        print(f"{case['case']}: {case['seconds']} s, GEMM speed {case['gemm_gflops']} GFLOP/s")
        for row in case["ops"] + case["products_by_rows"]:
            print("  ", *(f"{name}={value}" for name, value in row.items()))
        print(f"   products {case['products_share']:.1%}, fast {case['fast_products_share']:.1%}")
    alone = [products_alone(model, rows) for rows in ROWS]
    for row in alone:
        print("  ", *(f"{name}={value}" for name, value in row.items()))
    memory = round(memory_speed() / 1e9, 1)
    print(f"memory: {memory} GB/s")
    results = {"model": "SmolLM2-135M", "cases": cases, "alone": alone, "memory_gb_per_second": memory}
    print(f"written: {write_results('profile', results)}")


if __name__ == "__main__":
    main()
