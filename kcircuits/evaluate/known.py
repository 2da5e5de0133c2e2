"""What the full model answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kcircuits.data.prompts import Prompt
from kcircuits.engine import Engine
from kcircuits.evaluate.readout import read_answers
from kcircuits.memory import memory_bytes
from kcircuits.model.loading import Model
from kcircuits.portions import portions
from kcircuits.task import Task


def answer_ranks(model: Model, prompts: Sequence[Prompt], memory: int | str | None = None) -> tuple[int, ...]:
    """Rank of each prompt's answer in the full model's prediction, [N]; 1 is the most probable token.

    `kcircuits.data.relations.known_prompts` takes these. `memory` is as in `kcircuits.discover`.
    """
    ranks: list[int] = []
    for portion in portions(model.spec, prompts, memory_bytes(memory)):
        rows = Engine(model.spec, Task(portion)).full_rows()
        answers = torch.tensor([prompt.answer_id for prompt in portion])
        ranks += read_answers(model.spec, rows[None], answers)[0][0].tolist()
    return tuple(ranks)
