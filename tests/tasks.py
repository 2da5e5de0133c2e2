"""Random tasks on tiny models, and the metric of a circuit from the reference forward."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from kcircuits.data.prompts import Prompt, PromptBatch, batch
from kcircuits.model.forward import forward, forward_senders, masked_forward
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task
from tests.models import VOCABULARY


def random_prompt(length: int, seed: int) -> Prompt:
    """A prompt with a corrupt one and a wrong answer; all ids are random."""
    draw = random.Random(seed)
    answer, wrong = draw.sample(range(VOCABULARY), 2)
    clean, corrupt = (tuple(draw.choices(range(VOCABULARY), k=length)) for _ in range(2))
    return Prompt(clean, answer, corrupt, wrong)


def random_prompts_of(lengths: Sequence[int], seed: int = 0) -> tuple[Prompt, ...]:
    return tuple(random_prompt(length, 1000 * seed + index) for index, length in enumerate(lengths))


def padded_prompts(task: Task) -> tuple[PromptBatch, Tensor]:
    """All prompts left-padded, and a mask bool [N, T] that is True at real tokens."""
    padded = batch(task.prompts)
    longest = padded.clean.shape[1]
    return padded, torch.arange(longest) >= longest - padded.lengths[:, None]


def reference_runs(spec: ModelSpec, task: Task) -> Callable[[np.ndarray], Tensor]:
    """A function from a mask, bool [S, R], to the logits at the last position, [N, V]."""
    padded, mask = padded_prompts(task)
    ablated = None
    if task.ablation == "corrupt":
        assert padded.corrupt is not None
        ablated = forward_senders(spec, padded.corrupt, mask).senders

    def run(edges: np.ndarray) -> Tensor:
        return masked_forward(spec, padded.clean, mask, torch.from_numpy(edges), ablated)[:, -1]

    return run


def reference_metric(spec: ModelSpec, task: Task) -> Callable[[Tensor], Tensor]:
    """A function from logits at the last position, [N, V], to the metric of each prompt, [N]."""
    padded, mask = padded_prompts(task)
    full = forward(spec, padded.clean, mask)[:, -1].log_softmax(dim=-1)
    rows = torch.arange(len(task.prompts))

    def metric(logits: Tensor) -> Tensor:
        log_p = logits.log_softmax(dim=-1)
        if task.metric == "nll":
            return -log_p[rows, padded.answers]
        if task.metric == "kl":
            return (full.exp() * (full - log_p)).sum(dim=-1)
        assert padded.wrong is not None
        return logits[rows, padded.wrong] - logits[rows, padded.answers]

    return metric
