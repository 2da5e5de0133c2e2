"""What the full model answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kcircuits.data.prompts import Prompt
from kcircuits.engine import engines_for_circuits
from kcircuits.engine.needs import for_circuits
from kcircuits.evaluation.readout import read_answers
from kcircuits.model.loading import Model
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task


def answer_ranks(model: Model, prompts: Sequence[Prompt], memory: int | str | None = None) -> tuple[int, ...]:
    """Rank of each prompt's answer in the full model's prediction, [N]; 1 is the most probable token.

    Where tokens share their places (`read_answers`), half a place is rounded up.
    `kcircuits.data.relations.known_prompts` takes these. `memory` is as in `kcircuits.discover`.
    """
    if not prompts:
        return ()
    task = Task(tuple(prompts), "zero")
    budget = budget_for(memory, [for_circuits(model.spec, task)])
    rows = torch.cat([engine.full_rows() for engine in engines_for_circuits(model.spec, task, budget)])
    answers = torch.tensor([prompt.answer_id for prompt in prompts])
    ranks = read_answers(model.spec, rows[None], answers).rank[0].ceil()
    return tuple(ranks.long().tolist())
