"""Where the time of two ACDC searches on SmolLM2-135M goes, beside the speed of a large product.

`kcircuits discover --profile` prints the same for any search, layer by layer.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
from bench_acdc import CASES, Case, prompts_of
from machine import write_results

import kcircuits
from kcircuits.cli.profile_table import rows_of_products
from kcircuits.profile import FAST, Total, profiled


def run(case: Case, model: kcircuits.Model) -> dict[str, Any]:
    """One search, profiled."""
    prompts = prompts_of(case, model)
    search = partial(
        kcircuits.discover, model, prompts, method="acdc", ablation=case.ablation, threshold=case.threshold
    )
    circuit, profile = profiled(search)
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
    print(f"written: {write_results('profile', {'model': 'SmolLM2-135M', 'cases': cases})}")


if __name__ == "__main__":
    main()
