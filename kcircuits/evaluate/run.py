"""Measure a circuit, the full model, the empty circuit and random circuits in one batched masked run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kcircuits.circuit import Circuit
from kcircuits.data.prompts import Prompt
from kcircuits.engine import Engine
from kcircuits.errors import KCircuitsError
from kcircuits.evaluate.evaluation import Evaluation, RunMeasures
from kcircuits.evaluate.readout import read_answers
from kcircuits.memory import memory_bytes
from kcircuits.metrics import Metric
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.model.transforms import fold_value_biases
from kcircuits.portions import portions
from kcircuits.random_circuits import random_connected_mask
from kcircuits.task import Ablation, Task

RANDOM_CIRCUITS = 10


def evaluate(
    circuit: Circuit,
    model: Model,
    prompts: Sequence[Prompt],
    *,
    ablation: Ablation | None = None,
    metric: Metric | None = None,
    random_circuits: int = RANDOM_CIRCUITS,
    seed: int = 0,
    memory: int | str | None = None,
) -> Evaluation:
    """Measure a circuit on some prompts.

    Parameters
    ----------
    circuit
        From `kcircuits.discover` or `Circuit.load`. Value biases are folded if they were when it was found.
    model
        The model that the circuit was found in.
    prompts
        The prompts that it was found on, or others.
    ablation, metric
        As in `kcircuits.discover`; by default those that the circuit was found with ("zero" and "nll" if it
        does not say).
    random_circuits
        With how many random connected circuits of the same size to compare.
    seed
        Random circuit i is drawn with seed + i.
    memory
        Bytes, or a size such as "8GiB", for activations: of the prompts, taken in portions that fit, and of
        the circuits that run together. The default is that of `kcircuits.discover`.

    Raises
    ------
    KCircuitsError
        If the circuit belongs to another model, or anything else of the input cannot be used.
    """
    circuit.check_model(model.identity)
    how = ablation or circuit.settings.get("ablation", "zero")
    task = Task(tuple(prompts), how, metric or circuit.settings.get("metric", "nll"))
    _check_not_negative("random_circuits", random_circuits)
    _check_not_negative("seed", seed)
    budget = memory_bytes(memory)
    folded = circuit.settings.get("fold_value_biases") is True
    spec = fold_value_biases(model.spec) if folded else model.spec

    graph = circuit.graph
    count = random_circuits if circuit.edges else 0
    drawn = [
        random_connected_mask(graph, len(circuit.edges), np.random.default_rng(seed + i))
        for i in range(count)
    ]
    masks = np.stack([graph.valid, circuit.mask(), np.zeros_like(graph.valid), *drawn])
    full, found, empty, *random = _measure(spec, task, masks, budget)
    return Evaluation(
        model=model.identity,
        ablation=task.ablation,
        metric=task.metric,
        fold_value_biases=folded,
        num_edges=len(circuit.edges),
        num_graph_edges=graph.num_edges,
        num_nodes=len(circuit.nodes),
        seed=seed,
        full=full,
        circuit=found,
        empty=empty,
        random=tuple(random),
    )


def _measure(spec: ModelSpec, task: Task, masks: np.ndarray, memory: int) -> list[RunMeasures]:
    """What the masked runs of several circuits, bool [M, S, R], make of the task's prompts."""
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for portion in portions(spec, task.prompts, memory):
        engine = Engine(spec, Task(portion, task.ablation, task.metric))
        rows = engine.masked_rows(masks, memory)
        answers = torch.tensor([prompt.answer_id for prompt in portion])
        parts.append((engine.metric(rows), *read_answers(spec, rows, answers)))
    metric, rank, probability = (torch.cat(tensors, dim=1) for tensors in zip(*parts, strict=True))  # [M, N]
    if not metric.isfinite().all():
        raise KCircuitsError(f"the metric {task.metric} of a masked run is not finite: the numbers overflow")
    return [
        RunMeasures(tuple(metric[run].tolist()), tuple(rank[run].tolist()), tuple(probability[run].tolist()))
        for run in range(len(masks))
    ]


def _check_not_negative(name: str, value: Any) -> None:
    if type(value) is not int or value < 0:
        raise KCircuitsError(f"{name} must be a whole number, at least 0; got {value!r}")
