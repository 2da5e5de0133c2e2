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


def reference_runs(spec: ModelSpec, task: Task) -> Callable[[np.ndarray | Tensor], Tensor]:
    """A function from a mask [S, R], bool or of floating weights, to the last position's logits, [N, V]."""
    padded, mask = padded_prompts(task)
    ablated = ablated_values(spec, task)

    def run(edges: np.ndarray | Tensor) -> Tensor:
        return masked_forward(spec, padded.clean, mask, torch.as_tensor(edges), ablated)[:, -1]

    return run


def ablated_values(spec: ModelSpec, task: Task) -> Tensor:
    """What absent edges carry, [S, N, T, D], prompt by prompt and position by position."""
    padded, _ = padded_prompts(task)
    count, longest = padded.clean.shape
    values = torch.zeros(len(spec.graph.senders), count, longest, spec.width, dtype=spec.embedding.dtype)
    known = [outputs(spec, prompt.clean_ids) for prompt in task.reference or task.prompts]
    for n, prompt in enumerate(task.prompts):
        length = len(prompt.clean_ids)
        if task.ablation == "corrupt":
            assert prompt.corrupt_ids is not None
            values[:, n, -length:] = outputs(spec, prompt.corrupt_ids)
        elif task.ablation == "mean":
            values[:, n, -length:] = torch.cat(known, dim=1).mean(dim=1, keepdim=True)
        elif task.ablation == "mean-positional":
            for t in range(length):
                at_t = torch.stack([x[:, t] for x in known if x.shape[1] > t])
                values[:, n, longest - length + t] = at_t.mean(dim=0)
        if spec.positions is not None and not spec.ablate_positions:
            values[0, n, -length:] += spec.positions[:length]
    return values


def outputs(spec: ModelSpec, ids: tuple[int, ...]) -> Tensor:
    """What every sender puts out in a plain run, [S, T, D]; `input` without positions that are kept."""
    senders = forward_senders(spec, torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool)).senders[
        :, 0
    ]
    if spec.positions is not None and not spec.ablate_positions:
        senders[0] -= spec.positions[: len(ids)]
    return senders


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
