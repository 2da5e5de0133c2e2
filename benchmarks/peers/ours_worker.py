"""Worker process for kcircuits (in the main environment)."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
import torch
from peers.exchange import as_prompts
from peers.protocol import serve

import kcircuits
from kcircuits.discovery import method_of
from kcircuits.engine import measure as measured
from kcircuits.runtime.memory import memory_bytes
from kcircuits.task import Task

model: kcircuits.Model
task: Task


def setup(folder: str, prompts: dict[str, Any], ablation: Any, metric: Any, threads: int) -> dict[str, Any]:
    """Load the model. All work that depends on the prompts is done and timed in each call."""
    global model, task
    torch.set_num_threads(threads)
    model = kcircuits.load_model(folder)
    task = Task(as_prompts(prompts), ablation, metric)
    return {"edges": model.spec.graph.num_edges}


def acdc(threshold: float) -> dict[str, Any]:
    """The whole search."""
    method = method_of("acdc", {"threshold": threshold})
    start = perf_counter()
    found = method.search(model.spec, task, memory_bytes(None), None)
    return {
        "seconds": perf_counter() - start,
        **found.stats,
        "edges": sorted(f"{edge.sender}->{edge.receiver}" for edge in found.edges),
    }


def scores(method: str, options: dict[str, Any]) -> dict[str, float]:
    """The scores of all edges by a method."""
    return {"seconds": _scores(method, options)[0]}


def eap_scores() -> list[float]:
    """EAP's scores of all edges."""
    matrix = _scores("eap", {})[1][model.spec.graph.valid]
    return [float(value) for value in matrix]


def measure(edges: list[tuple[int, int]]) -> list[float]:
    """The metric of the full graph, and of the full graph without each of the edges (sender, receiver)."""
    masks = np.repeat(model.spec.graph.valid[None], len(edges) + 1, axis=0)
    for row, (sender, receiver) in enumerate(edges, start=1):
        masks[row, sender, receiver] = False
    return measured(model.spec, task, masks, memory_bytes(None))


def _scores(method: str, options: dict[str, Any]) -> tuple[float, np.ndarray]:
    scorer = method_of(method, options)
    start = perf_counter()
    matrix = scorer.scores(model.spec, task, memory_bytes(None), None)
    return perf_counter() - start, matrix


if __name__ == "__main__":
    serve({"setup": setup, "acdc": acdc, "scores": scores, "eap_scores": eap_scores, "measure": measure})
