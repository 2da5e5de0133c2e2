"""How long a search will take, from pieces of it that are run."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch

from kcircuits.engine import Engine
from kcircuits.model.devices import tensors_of
from kcircuits.model.spec import ModelSpec

PIECES = 3
"""Receivers, spread over the layers, whose edges are patched to see what one costs."""

EDGES_EACH = 24


def seconds_of_run(engine: Engine, memory: int, at_a_time: int) -> float:
    """One run with its gradients and scores, of so many that go together."""
    points = [1.0] * at_a_time

    def run() -> None:
        engine.path_scores(points, rule="gradient", qk_fix=False, memory=memory, progress=None)

    return _timed(run) / at_a_time


def seconds_of_correction(spec: ModelSpec, seconds_of_forward: float) -> float:
    """What the query/key correction adds to a run: queries and keys of every sender before every layer."""
    graph = spec.graph
    heads = (graph.num_heads + graph.num_kv_heads) * spec.head_dim
    before = sum(graph.senders_before(layer) for layer in range(graph.num_layers))
    weights = sum(tensor.numel() for tensor in tensors_of(spec.layers))
    return seconds_of_forward * before * heads * spec.width / weights


def seconds_of_edge(engine: Engine, memory: int) -> float:
    """One edge of the full model, patched; the mean over receivers of early and late layers."""
    graph = engine.graph
    chosen = np.linspace(len(graph.receivers) // 20, len(graph.receivers) - 2, PIECES).astype(int)
    total = 0.0
    for receiver in chosen:
        wanted = np.zeros_like(graph.valid)
        wanted[: min(EDGES_EACH, graph.num_senders_of[receiver]), receiver] = True
        start = perf_counter()
        engine.exact_scores(wanted, memory=memory, progress=None)
        total += (perf_counter() - start) / wanted.sum()
    return total / len(chosen)


def seconds_of_step(engine: Engine) -> float:
    """One training step of edge pruning."""
    weights = torch.from_numpy(engine.graph.valid).float()
    return _timed(lambda: engine.soft_run(weights))


def _timed(run: Callable[[], object]) -> float:
    run()  # the first is slower
    start = perf_counter()
    run()
    return perf_counter() - start
