"""Many circuits, and the readout of all nodes, compared with plain Hugging Face forward passes in one run.

* 1,000 random connected circuits of SmolLM2-135M, evaluated on one prompt: milliseconds per circuit.
* Heads and MLPs read through the final norm and the unembedding at each position: the answer's logit and rank
  and the top 10 tokens, with one call of `vocab_readout` and with a loop over nodes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import torch
from bench_acdc import CASES, forward_times, prompts_of
from machine import write_results
from plain import Plain
from torch import Tensor

import kcircuits
from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.data.prompts import Prompt
from kcircuits.engine import measure
from kcircuits.model.forward import forward_senders, normalise
from kcircuits.model.gguf.conversion import convert, demo_file
from kcircuits.model.spec import ModelSpec
from kcircuits.ops import vocab_readout
from kcircuits.runtime.memory import memory_bytes
from kcircuits.task import Task

CIRCUITS = 1000
SIZES = (300, 2000)
CHECKED = 3
TARGET = 8
TOP = 10
ROUNDS = 3
Read = tuple[Tensor, Tensor, Tensor]
T = TypeVar("T")


def time_call(run: Callable[[], T]) -> tuple[T, float]:
    start = perf_counter()
    result = run()
    return result, perf_counter() - start


def circuits(spec: ModelSpec, prompts: tuple[Prompt, ...], plain: Plain, size: int) -> dict[str, Any]:
    """Random circuits of one size, all together, between two series of plain forward passes."""
    rng = np.random.default_rng(0)
    masks = np.stack([random_connected_mask(spec.graph, size, rng) for _ in range(CIRCUITS)])
    task, budget = Task(prompts, "zero", "nll"), memory_bytes(None)
    measure(spec, task, masks[:10], budget)
    times = forward_times(plain)
    values, seconds = time_call(lambda: measure(spec, task, masks, budget))
    times += forward_times(plain)
    alone = [measure(spec, task, masks[i : i + 1], budget)[0] for i in range(CHECKED)]
    if not np.allclose(values[:CHECKED], alone, atol=1e-3):
        raise SystemExit(f"circuits measured together give {values[:CHECKED]}, alone {alone}")
    forward = statistics.median(times)
    return {
        "circuits": CIRCUITS,
        "edges": size,
        "seconds": round(seconds, 3),
        "seconds_per_circuit": round(seconds / CIRCUITS, 5),
        "plain_forward_seconds": round(forward, 4),
        "ratio": round(forward * CIRCUITS / seconds, 1),
        "target": TARGET,
    }


def read_fused(spec: ModelSpec, outputs: Tensor, answer: int) -> Read:
    """The answer's logit and rank and the top tokens of all nodes at all positions; outputs [nodes, T, D]."""
    rows = outputs.flatten(0, 1)
    read = vocab_readout(
        rows,
        spec.unembedding,
        torch.full((len(rows),), answer),
        topk=TOP,
        norm=spec.final_norm.kind,
        weight=spec.final_norm.weight,
        eps=spec.final_norm.eps,
    )
    return read.target_logits, read.ranks, read.topk_ids


def read_by_loop(spec: ModelSpec, outputs: Tensor, answer: int) -> Read:
    """The same, node by node."""
    found: list[Read] = []
    for output in outputs:
        logits = normalise(spec.final_norm, output) @ spec.unembedding.t()  # [T, V]
        target = logits[:, answer]
        rank = 1 + (logits > target[:, None]).sum(dim=1)
        found.append((target, rank, logits.topk(TOP, dim=1).indices))
    logits, ranks, top = (torch.cat(parts) for parts in zip(*found, strict=True))
    return logits, ranks, top


def check_agreement(first: Read, second: Read) -> None:
    """Stop the benchmark if the two differ by more than rounding, which may swap near ties."""
    same_logits = torch.allclose(first[0], second[0], atol=1e-3)
    same_ranks = (first[1] == second[1]).double().mean()
    same_top = (first[2] == second[2]).double().mean()
    if not (same_logits and min(same_ranks, same_top) > 0.98):
        raise SystemExit(f"readouts differ: logits {same_logits}, ranks {same_ranks}, top {same_top}")


def nodes(spec: ModelSpec, prompts: tuple[Prompt, ...], plain: Plain) -> dict[str, Any]:
    """All heads and MLPs of one prompt, read at all positions."""
    ids = torch.tensor([prompts[0].clean_ids])
    with torch.inference_mode():
        outputs = forward_senders(spec, ids, torch.ones_like(ids, dtype=torch.bool)).senders[1:, 0]
        seconds: dict[str, list[float]] = {"fused": [], "loop": [], "forward": []}
        for _ in range(ROUNDS + 1):
            seconds["forward"].append(statistics.median(forward_times(plain)))
            ours, once = time_call(lambda: read_fused(spec, outputs, prompts[0].answer_id))
            seconds["fused"].append(once)
            theirs, once = time_call(lambda: read_by_loop(spec, outputs, prompts[0].answer_id))
            seconds["loop"].append(once)
            check_agreement(ours, theirs)
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    count = len(outputs)
    return {
        "nodes": count,
        "positions": outputs.shape[1],
        "seconds": round(medians["fused"], 4),
        "seconds_per_node": round(medians["fused"] / count, 6),
        "loop_seconds": round(medians["loop"], 4),
        "plain_forward_seconds": round(medians["forward"], 4),
        "ratio_to_loop": round(medians["loop"] / medians["fused"], 2),
        "forward_passes": round(medians["fused"] / medians["forward"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    model = kcircuits.load_model("demo")
    prompts = prompts_of(CASES[0], model)
    plain = Plain(convert(demo_file()), prompts)
    results = {
        "model": "SmolLM2-135M",
        "tokens": len(prompts[0].clean_ids),
        "random_circuits": [circuits(model.spec, prompts, plain, size) for size in SIZES],
        "node_readout": nodes(model.spec, prompts, plain),
    }
    for row in (*results["random_circuits"], results["node_readout"]):
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    print(f"written: {write_results('circuits', results)}")


if __name__ == "__main__":
    main()
