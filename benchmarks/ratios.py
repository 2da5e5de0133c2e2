"""Print how many times faster than straightforward code each op is, from pytest-benchmark's JSON."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path


def main(path: str) -> None:
    times: dict[str, dict[str, float]] = defaultdict(dict)
    for run in json.loads(Path(path).read_text())["benchmarks"]:
        times[run["group"]][run["extra_info"]["way"]] = run["stats"]["median"]
    print("| op | shape | detail | fused | obvious / fused | compiled / fused | GEMM / fused |")
    print("|---|---|---|---|---|---|---|")
    for title, by_way in times.items():
        fused = by_way["fused"]
        ratios = " | ".join(
            f"{by_way[way] / fused:.2f}" if way in by_way else "" for way in ("obvious", "compiled", "gemm")
        )
        print(f"| {title} | {1e3 * fused:.2f} ms | {ratios} |")


if __name__ == "__main__":
    main(sys.argv[1])
