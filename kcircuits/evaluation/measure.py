"""Many circuits on many prompts: all masked runs in batches, prompts in portions that fit into memory."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from kcircuits.engine import Engine, engines_for_circuits
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.divergence import divergence
from kcircuits.evaluation.measures import RunMeasures
from kcircuits.evaluation.readout import read_answers
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task

MASK_BYTES = 256 * 2**20
"""Masks that exist at a time, at most; a mask has one byte for each pair of sender and receiver."""


def measure_runs(spec: ModelSpec, task: Task, masks: np.ndarray, memory: int) -> list[RunMeasures]:
    """What the masked runs of M circuits, bool [M, S, R], make of the task's prompts.

    Raises KCircuitsError if the metric overflows.
    """
    parts = []
    answers = iter(torch.tensor([prompt.answer_id for prompt in task.prompts]))
    for engine in engines_for_circuits(spec, task, memory):
        full = engine.full_rows()
        wanted = torch.stack(list(islice(answers, len(full))))
        rows = engine.masked_rows(masks, memory)
        metric = _finite(engine, rows, task)
        read = read_answers(spec, rows, wanted)
        kl = divergence(spec, full, rows, read.log_sum_exp)
        parts.append(torch.stack([metric, read.rank, read.probability, kl]).cpu())  # [4, M, n]
    measured = torch.cat(parts, dim=2).transpose(0, 1)  # [M, 4, N]
    return [RunMeasures(*(tuple(values.tolist()) for values in run)) for run in measured]


def measure_metric(spec: ModelSpec, task: Task, masks: Iterable[np.ndarray], memory: int) -> np.ndarray:
    """The metric alone of any number M of circuits, float64 [M, N].

    Parameters
    ----------
    spec, task
        The model and what is measured.
    masks
        At least one, each bool [S, R]; taken from the iterable a few at a time, an eighth of the
        memory and `MASK_BYTES` at most.
    memory
        Bytes for what runs together.

    Raises
    ------
    KCircuitsError
        If the metric overflows.
    """
    size = max(1, min(MASK_BYTES, memory // 8) // spec.graph.valid.size)
    remaining = iter(masks)
    blocks = []
    while block := list(islice(remaining, size)):
        together = np.stack(block)
        parts = [
            _finite(engine, engine.masked_rows(together, memory), task).cpu().numpy()
            for engine in engines_for_circuits(spec, task, memory)
        ]
        blocks.append(np.concatenate(parts, axis=1))
    return np.concatenate(blocks)


def _finite(engine: Engine, rows: Tensor, task: Task) -> Tensor:
    """The metric of each prompt, float64 [M, N]; a divergence is clamped (`clamp_metric`)."""
    metric = engine.metric(rows)
    if not metric.isfinite().all():
        raise KCircuitsError(f"the metric {task.metric} of a masked run is not finite: the numbers overflow")
    return metric.clamp(min=0) if task.metric == "kl" else metric
