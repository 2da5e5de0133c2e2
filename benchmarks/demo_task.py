"""The common task of the benchmarks of gradient methods: facts that the demo model knows."""

from __future__ import annotations

import kcircuits
from kcircuits.data.relations import known_prompts
from kcircuits.evaluation.known import answer_ranks
from kcircuits.task import Task

TEMPLATE = 1  # "Most people who live in {} speak"
TOKENS = 7
DESCRIPTION = "country-language, 8 pairs of 7 tokens, corrupt ablation, logit-diff"


def language_task(model: kcircuits.Model, num_prompts: int = 8) -> Task:
    """Facts whose answer is the model's first choice, with partners of the same length."""
    spec = model.spec
    made = kcircuits.relation_prompts(
        kcircuits.load_relation("country-language"),
        model.tokenizer,
        spec.vocab_size,
        spec.max_positions,
        template=TEMPLATE,
        corrupt=True,
    )
    known = known_prompts(made.prompts, answer_ranks(model, made.prompts), 1)
    fitting = [prompt for prompt in known if len(prompt.clean_ids) == TOKENS]
    return Task(tuple(fitting[:num_prompts]), "corrupt", "logit-diff")
