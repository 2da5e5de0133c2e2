"""Readout of all heads and MLPs of SmolLM2-135M at each position of 64 prompts.

Logit and rank of the answer and the top 10 tokens of each node, with `read_nodes` and with a loop over nodes:
a product with the unembedding and a sort of the vocabulary. The loop runs over some of the nodes, and its
time is scaled to all of them. Peaks are the kernel's high-water mark minus the memory in use before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from bench_scaling import peak_of
from machine import write_results
from torch import Tensor

import kcircuits
from kcircuits.analysis.direct_logit_attribution import Unembedding, final_streams, norm_scale
from kcircuits.analysis.heads.nodes import NodeReadout, read_nodes
from kcircuits.data.prompts import Prompt
from kcircuits.engine import Engine
from kcircuits.task import Task

PROMPTS = 64
RELATIONS = ("country-language", "country-capital")
TOP = 10
LOOPED = 12
TARGET = 10


def time_call(read: Callable[[], Any]) -> tuple[Any, float, int]:
    """A function's result, its seconds, and its additional peak memory in bytes."""

    def run() -> tuple[Any, float]:
        start = perf_counter()
        result = read()
        return result, perf_counter() - start

    done: Any
    done, peak = peak_of(run)
    return (*done, peak)


def prompts_of(model: kcircuits.Model) -> tuple[Prompt, ...]:
    """The first prompts of two relations."""
    spec = model.spec
    made: list[Prompt] = []
    for relation in RELATIONS:
        made += kcircuits.relation_prompts(
            kcircuits.load_relation(relation),
            model.tokenizer,
            spec.vocab_size,
            spec.max_positions,
            allow_multi_token=True,
        ).prompts
    return tuple(made[:PROMPTS])


def read_by_loop(
    unembedding: Unembedding, senders: Tensor, nodes: Tensor, targets: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Node by node with a full sort: the target's rank and relative logit, and the top tokens."""
    spec = unembedding.spec
    scale = norm_scale(spec.final_norm, final_streams(spec, senders)).float()
    found = []
    for node in nodes:
        rows = senders[node] * scale[:, None] * spec.final_norm.weight
        logits = rows @ spec.unembedding.t()  # [n, V]
        order = logits.argsort(dim=1, descending=True)
        rank = 1 + (order == targets[:, None]).long().argmax(dim=1)
        target = logits.gather(1, targets[:, None])[:, 0] - logits.mean(dim=1)
        found.append((target, rank, order[:, :TOP].clone()))
    return found


def check_agreement(read: NodeReadout, nodes: Tensor, looped: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    """Stop the benchmark if the two differ by more than rounding, which may swap near ties."""
    logit, rank, top = (torch.stack(each) for each in zip(*looped, strict=True))
    place = nodes - 1
    same_logits = torch.allclose(read.logit[place].float(), logit, atol=1e-3)
    same_ranks = (read.rank[place] == rank).double().mean()
    same_top = (read.top_ids[place] == top).double().mean()
    if not (same_logits and min(same_ranks, same_top) > 0.98):
        raise SystemExit(f"readings differ: logits {same_logits}, ranks {same_ranks}, top {same_top}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    model = kcircuits.load_model("demo")
    spec = model.spec
    prompts = prompts_of(model)
    senders = Engine(spec, Task(prompts, "zero")).senders()
    lengths = torch.tensor([len(prompt.clean_ids) for prompt in prompts])
    targets = torch.tensor([prompt.answer_id for prompt in prompts]).repeat_interleave(lengths)
    nodes = torch.arange(1, len(spec.graph.senders))
    some = nodes[torch.linspace(0, len(nodes) - 1, LOOPED).long()]
    unembedding = Unembedding.from_spec(spec)
    with torch.inference_mode():
        read_by_loop(unembedding, senders, some[:1], targets)
        read, seconds, peak = time_call(lambda: read_nodes(unembedding, senders, nodes, targets, TOP))
        looped, loop, loop_peak = time_call(lambda: read_by_loop(unembedding, senders, some, targets))
    check_agreement(read, some, looped)
    scaled = loop / len(some) * len(nodes)
    results = {
        "model": "SmolLM2-135M",
        "prompts": len(prompts),
        "nodes": len(nodes),
        "positions": senders.shape[1],
        "seconds": round(seconds, 2),
        "peak_mib": round(peak / 2**20),
        "looped_nodes": len(some),
        "loop_seconds": round(scaled, 1),
        "loop_peak_mib": round(loop_peak / 2**20),
        "ratio": round(scaled / seconds, 1),
        "target": TARGET,
    }
    print("  ".join(f"{name}={value}" for name, value in results.items()))
    print(f"written: {write_results('heads', results)}")


if __name__ == "__main__":
    main()
