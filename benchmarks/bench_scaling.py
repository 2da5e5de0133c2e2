"""Time and memory for large models: one with TinyLlama's shape, and planned memory compared with the peak.

All models are random with LLaMA's shape. Peaks are the kernel's high-water mark minus the memory in use
before (Linux), each in its own process.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from machine import write_results
from shapes import LLAMA_2_7B, LLAMA_3_70B, TINY_LLAMA, Shape, random_prompts, random_spec

from kcircuits.discovery.method import Method, Scorer
from kcircuits.discovery.methods import method_and_selection, method_of
from kcircuits.engine import acdc_chunk
from kcircuits.engine.needs import Sizes, acdc_workspace
from kcircuits.model.loading import Model
from kcircuits.planning import plan
from kcircuits.planning.memory import gradient_work
from kcircuits.task import Task

BASE = Shape(layers=8, heads=8, kv_heads=8, head_dim=64, hidden=1408, vocabulary=8000)
GIB = 2**30
IG = ("eap-ig-inputs", {"ig_steps": 5, "top_n": 100})
TESTS = 2000

# Many heads and one long prompt, so that senders use most of the memory.
WIDE = Shape(layers=16, heads=32, kv_heads=32, head_dim=16, hidden=1408, vocabulary=8000)
ONE_PROMPT = {"count": 1, "length": 192}
MEASURED_PEAKS = {
    "eap-ig-inputs, TinyLlama, 8 prompts of 7": (TINY_LLAMA, {"count": 8, "length": 7}, IG, "2GiB"),
    "eap-ig-inputs, base, 64 prompts of 32": (BASE, {"count": 64, "length": 32}, IG, "1GiB"),
    "edge-pruning, base, 16 prompts of 16": (
        BASE,
        {"count": 16, "length": 16},
        ("edge-pruning", {"top_n": 4000, "steps": 2}),
        "2GiB",
    ),
    "exact, base, 8 prompts of 16": (BASE, {"count": 8, "length": 16}, ("exact", {"top_n": 100}), "1GiB"),
    "acdc, base, 8 prompts of 16": (BASE, {"count": 8, "length": 16}, ("acdc", {"threshold": 0.01}), "1GiB"),
    **{
        f"eap-ig-inputs, wide, 1 prompt of 192, senders {senders}": (
            WIDE, ONE_PROMPT, (IG[0], {**IG[1], "senders": senders}), memory
        )
        for senders, memory in (("memory", "1GiB"), ("bfloat16", "700MiB"), ("recomputed", "640MiB"))
    },
}  # fmt: skip


class Enough(Exception):
    """Stops a search after the number of measured tests."""


def search(method: Method, spec: Any, task: Task, memory: int, tests: int | None = None) -> int:
    """Run a search, or a number of its tests; returns the number of tests."""
    done = 0

    def count(progress: Any) -> None:
        nonlocal done
        done = getattr(progress, "tests", 0)
        if tests is not None and done >= tests:
            raise Enough

    with suppress(Enough):
        if isinstance(method, Scorer):
            method.scores(spec, task, memory, count)
        else:
            method.search(spec, task, memory, count)
    return done


def task_of(shape: Shape, prompts: dict[str, int]) -> Task:
    """Corrupt ablation, logit difference."""
    made = random_prompts(prompts["count"], prompts["length"], shape.vocabulary)
    return Task(made, "corrupt", "logit-diff")


def peak_of(run: Callable[[], object]) -> tuple[object, int]:
    """A function's result and its additional peak memory in bytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    result = run()
    return result, status("VmHWM") - before


def status(name: str) -> int:
    """A memory counter of this process in bytes."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) * 1024


def measure_peak(name: str) -> dict[str, Any]:
    """Plan and peak of one search, in this process."""
    shape, prompts, (method, options), memory = MEASURED_PEAKS[name]
    spec, task = random_spec(shape), task_of(shape, prompts)
    model = Model(spec, None, {})
    chosen, _ = method_and_selection(method, options)
    planned = plan(model, task, chosen, memory=memory, calibrate=False)
    start = perf_counter()
    _, peak = peak_of(lambda: search(chosen, spec, task, planned.memory))
    return {
        "planned": planned.engine + planned.workspace,
        "peak": peak,
        "weights": planned.weights,
        "senders": planned.senders,
        "blocks": planned.blocks,
        "seconds": perf_counter() - start,
    }


def large_model() -> dict[str, Any]:
    """EAP-IG (5 steps, 8 prompts) and 2,000 ACDC tests of a model with 1.1 billion parameters."""
    spec, task = random_spec(TINY_LLAMA), task_of(TINY_LLAMA, {"count": 8, "length": 7})
    held = status("VmRSS")
    start = perf_counter()
    _, ig_peak = peak_of(lambda: search(method_and_selection(*IG)[0], spec, task, 2 * GIB))
    ig_seconds = perf_counter() - start
    start = perf_counter()
    acdc = method_of("acdc", {"threshold": 0.01})
    tests, acdc_peak = peak_of(lambda: search(acdc, spec, task, 2 * GIB, TESTS))
    return {
        "parameters": TINY_LLAMA.parameters,
        "held_before": held,
        "eap_ig_seconds": ig_seconds,
        "eap_ig_peak": held + ig_peak,
        "acdc_tests": tests,
        "acdc_seconds": perf_counter() - start,
        "acdc_peak": held + acdc_peak,
    }


def planned_on_gpus() -> dict[str, Any]:
    """Planned memory for larger models, with weights in bfloat16 and activations in float32."""
    planned = {}
    for name, shape in (("LLaMA-2-7B", LLAMA_2_7B), ("LLaMA-3-70B", LLAMA_3_70B)):
        spec = random_spec(shape, device="meta", dtype=torch.bfloat16)
        graph = spec.graph
        sizes = Sizes(spec, kept=True, tokens=8 * 16, prompts=8, longest=16)
        budget = sizes.engine + 16 * GIB
        edges, tokens = graph.num_edges, sizes.tokens
        planned[name] = {
            "edges": edges,
            "weights": 2 * shape.parameters,
            "senders": sizes.engine,
            "eap_ig_workspace": gradient_work(sizes, 5, budget).bytes,
            "acdc_workspace": acdc_workspace(sizes, budget, acdc_chunk(spec, sizes.prompts)),
            # Two plain runs, five forward and backward passes to the inputs, and the scores once.
            "eap_ig_flop": 2 * shape.parameters * tokens * (2 + 5 * 2) + 2 * edges * tokens * shape.width,
        }
    return planned


def in_own_process(*arguments: str) -> Any:
    """Run a part of this benchmark in its own process. The last line of its output is the result."""
    command = [sys.executable, __file__, *arguments, "--threads", str(torch.get_num_threads())]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--large", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print(json.dumps(measure_peak(arguments.peak)))
        return
    if arguments.large:
        print(json.dumps(large_model()))
        return
    results: dict[str, Any] = {"large": in_own_process("--large")}
    large = results["large"]
    print(f"{large['parameters'] / 1e9:.2f} billion parameters, float32:")
    print(
        f"  EAP-IG, 5 steps, 8 prompts: {large['eap_ig_seconds']:.1f} s, "
        f"peak {large['eap_ig_peak'] / GIB:.1f} GiB"
    )
    print(
        f"  {large['acdc_tests']:,} ACDC tests: {large['acdc_seconds']:.1f} s, "
        f"peak {large['acdc_peak'] / GIB:.1f} GiB"
    )
    results["peaks"] = {name: in_own_process("--peak", name) for name in MEASURED_PEAKS}
    for name, peak in results["peaks"].items():
        print(
            f"  {name}: planned {peak['planned'] / 2**20:,.0f} MiB, peak {peak['peak'] / 2**20:,.0f} MiB "
            f"({peak['peak'] / peak['planned']:.2f} of it), {peak['seconds']:.1f} s; "
            f"senders {peak['senders']}, blocks {peak['blocks']}"
        )
    results["planned"] = planned_on_gpus()
    print(json.dumps(results["planned"], indent=2))
    print("written:", write_results("scaling", results))


if __name__ == "__main__":
    main()
