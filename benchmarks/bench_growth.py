"""Growth of run time with circuit, prompts, threads and model: exact ACDC, EAP, EAP-IG and masked runs.

One size varies and the others are fixed. Exponents are slopes of least-squares lines through the logarithms.
Models are random with LLaMA's shape, by default 8 layers of width 512 with 8 heads, on pairs of random
prompts. Seconds are medians after a warm-up run. docs/performance.md explains the results.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from machine import RESULTS, write_results
from shapes import Shape, random_prompts, random_spec

from kcircuits.discovery import method_of
from kcircuits.engine import measure
from kcircuits.graph import Graph
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import memory_bytes
from kcircuits.task import Task

BASE = Shape(layers=8, heads=8, kv_heads=8, head_dim=64, hidden=1408, vocabulary=1000)
LENGTH, PROMPTS, THRESHOLD = 8, 4, 0.1
CIRCUITS, DENSITY = 16, 0.05  # of the masked runs
RUNS = {"acdc": 3, "eap": 5, "eap-ig-inputs": 5, "masked runs": 5}
LONG = 2.0  # seconds; longer runs are not repeated and have no warm-up


@dataclass(frozen=True)
class Point:
    """One size of one axis."""

    size: float
    shape: Shape = BASE
    length: int = LENGTH
    prompts: int = PROMPTS
    threshold: float = THRESHOLD
    density: float = DENSITY
    threads: int | None = None


def widen(width: int) -> Shape:
    """BASE with heads of another width."""
    return replace(BASE, head_dim=width // BASE.heads, hidden=11 * width // 4)


AXES: dict[str, tuple[Point, ...]] = {
    "edges kept": tuple(
        Point(density, threshold=threshold, density=density)
        for threshold, density in (
            (0.3, 0.001), (0.2, 0.004), (0.1, 0.016), (0.07, 0.064), (0.05, 0.25), (0.04, 0.5), (0.02, 1.0)
        )
    ),
    "tokens of a prompt": tuple(Point(n, length=n) for n in (6, 16, 32, 64, 128, 256)),
    "prompts": tuple(Point(n, prompts=n) for n in (1, 2, 4, 8, 16, 32, 64)),
    "threads": tuple(Point(n, threads=n) for n in (1, 2)),
    "layers": tuple(Point(n, replace(BASE, layers=n)) for n in (4, 8, 16, 32)),
    "heads (same width)": tuple(
        Point(n, replace(BASE, heads=n, kv_heads=n, head_dim=512 // n)) for n in (4, 8, 16, 32)
    ),
    "width (same heads)": tuple(Point(n, widen(n)) for n in (256, 512, 1024, 2048)),
}  # fmt: skip


def acdc(spec: ModelSpec, task: Task, point: Point) -> dict[str, Any]:
    """The whole search."""
    found = method_of("acdc", {"threshold": point.threshold}).search(spec, task, memory_bytes(None), None)
    return {**found.stats, "edges": len(found.edges)}


def scores(method: str, **options: Any) -> Callable[[ModelSpec, Task, Point], dict[str, Any]]:
    """The scores of all edges."""
    scorer = method_of(method, options)

    def run(spec: ModelSpec, task: Task, _: Point) -> dict[str, Any]:
        scorer.scores(spec, task, memory_bytes(None), None)
        return {}

    return run


def masked_runs(spec: ModelSpec, task: Task, point: Point) -> dict[str, Any]:
    """The metric of random circuits, including the engine's plain runs."""
    masks = random_masks(spec.graph, point.density)
    measure(spec, task, masks, memory_bytes(None))
    return {"edges": int(masks.sum()) // CIRCUITS}


METHODS: dict[str, Callable[[ModelSpec, Task, Point], dict[str, Any]]] = {
    "acdc": acdc,
    "eap": scores("eap"),
    "eap-ig-inputs": scores("eap-ig-inputs", ig_steps=5),
    "masked runs": masked_runs,
}
# Scoring methods score all edges, independent of the selection.
NOT_MEASURED = {("edges kept", "eap"), ("edges kept", "eap-ig-inputs")}


def random_masks(graph: Graph, density: float) -> np.ndarray:
    """Circuits with this share of the edges, bool [CIRCUITS, S, R]."""
    chance = np.random.default_rng(0).random((CIRCUITS, *graph.valid.shape))
    return graph.valid & (chance < density)


def time_method(name: str, spec: ModelSpec, task: Task, point: Point) -> dict[str, Any]:
    """Median seconds of a method. Long runs are not repeated."""
    seconds: list[float] = []
    while True:
        start = perf_counter()
        facts = METHODS[name](spec, task, point)
        seconds.append(perf_counter() - start)
        if seconds[0] > LONG:
            break
        if len(seconds) > RUNS[name]:
            seconds = seconds[1:]
            break
    return {"seconds": statistics.median(seconds), "runs": len(seconds), **facts}


def measure_axis(axis: str) -> dict[str, list[dict[str, Any]]]:
    """Every method at every point of an axis."""
    results: dict[str, list[dict[str, Any]]] = {
        name: [] for name in METHODS if (axis, name) not in NOT_MEASURED
    }
    threads = torch.get_num_threads()
    for point in AXES[axis]:
        if point.threads is not None:
            torch.set_num_threads(point.threads)
        spec = random_spec(point.shape)
        prompts = random_prompts(point.prompts, point.length, point.shape.vocabulary)
        task = Task(prompts, "corrupt", "logit-diff")
        for name, rows in results.items():
            facts = time_method(name, spec, task, point)
            size = max(1, facts["edges"]) if axis == "edges kept" else point.size
            rows.append({"size": size, **facts})
        torch.set_num_threads(threads)
        said = ", ".join(f"{name} {rows[-1]['seconds']:.3f}" for name, rows in results.items())
        print(f"  {axis} {point.size:g}: {said} s", flush=True)
    return results


def exponent(sizes: Iterable[float], seconds: Iterable[float]) -> float:
    """Slope of log seconds over log size, least squares."""
    x, y = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    top = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return top / sum((a - mean_x) ** 2 for a in x)


def exponents(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Exponents of all points, of the last step (where growth may only begin), and of ACDC's evaluations."""
    sizes, seconds = [row["size"] for row in rows], [row["seconds"] for row in rows]
    fitted = {"seconds": exponent(sizes, seconds), "last_step": exponent(sizes[-2:], seconds[-2:])}
    if "evaluations" in rows[0]:
        counts = [row["evaluations"] for row in rows]
        each = [second / count for second, count in zip(seconds, counts, strict=True)]
        fitted["evaluations"] = exponent(sizes, counts)
        fitted["seconds_per_evaluation"] = exponent(sizes, each)
    return {name: round(value, 2) for name, value in fitted.items()}


def earlier_axes() -> dict[str, Any]:
    """Results of axes from earlier runs that are not run again."""
    path = RESULTS / "growth.json"
    return json.loads(path.read_text())["axes"] if path.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start = perf_counter()
    measured = earlier_axes()
    for axis in options.axes:
        print(f"{axis}:", flush=True)
        measured[axis] = {
            name: {"points": rows, "exponents": exponents(rows)} for name, rows in measure_axis(axis).items()
        }
        for name, result in measured[axis].items():
            print(f"  {name:>14}: exponents {result['exponents']}", flush=True)
    print(f"{perf_counter() - start:.0f} s in all")
    base = {**vars(BASE), "length": LENGTH, "prompts": PROMPTS, "threshold": THRESHOLD}
    axes = {axis: measured[axis] for axis in AXES if axis in measured}
    print("written:", write_results("growth", {"base": base, "axes": axes}))


if __name__ == "__main__":
    main()
