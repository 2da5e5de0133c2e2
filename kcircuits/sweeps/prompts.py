"""The prompts of a job: from a relation or a file, those that the model knows, one half of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kcircuits.data.halves import Half, split_halves
from kcircuits.data.prompts import Prompt, read_prompts
from kcircuits.data.relations import known_prompts, load_relation, relation_prompts
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import answer_ranks
from kcircuits.files.writing import write_atomically
from kcircuits.model.identity import exact_identity
from kcircuits.model.loading import Model
from kcircuits.sweeps.grid import PromptChoice
from kcircuits.sweeps.keys import digest_of_prompts, key_of
from kcircuits.sweeps.store import Shelf


def file_prompts(choice: PromptChoice, model: Model) -> tuple[Prompt, ...]:
    """All prompts of a file. Raises KCircuitsError if it is no such file, or the model cannot take one."""
    spec = model.spec
    return read_prompts(
        choice.source,
        model.tokenizer,
        spec.vocab_size,
        spec.max_positions,
        allow_multi_token=choice.first_token,
    )


def known_of_relation(
    choice: PromptChoice, model: Model, *, partners: bool, memory: int, parts: Shelf, keep: bool
) -> tuple[Prompt, ...]:
    """The prompts of a relation whose answers the model knows.

    Parameters
    ----------
    partners
        Whether every prompt needs a corrupt one and a wrong answer.
    parts, keep
        Where ranks of answers may be kept, and whether new ones are.

    Raises
    ------
    KCircuitsError
        If no fact gives a prompt, or the model knows none of them.
    """
    spec = model.spec
    made = relation_prompts(
        load_relation(choice.source),
        model.tokenizer,
        spec.vocab_size,
        spec.max_positions,
        template=choice.template,
        shuffle_seed=choice.shuffle_seed,
        corrupt=partners,
        allow_multi_token=choice.first_token,
    )
    if choice.top_k == 0:
        return made.prompts[: choice.limit]
    ranks = _ranks(model, made.prompts, memory, parts, keep)
    known = known_prompts(made.prompts, ranks, choice.top_k)
    if not known:
        raise KCircuitsError(
            f"the model has none of the {len(made.prompts)} answers of {made.relation!r} among its "
            f"{choice.top_k} most probable tokens: take another template, a larger top_k, or top_k: 0"
        )
    return known[: choice.limit]


def half_of(prompts: Sequence[Prompt], half: Half | None, seed: int) -> tuple[Prompt, ...]:
    """One half of the prompts, or all of them."""
    if half is None:
        return tuple(prompts)
    validation, test = split_halves(tuple(prompts), seed)
    return validation if half == "validation" else test


def _ranks(model: Model, prompts: Sequence[Prompt], memory: int, parts: Shelf, keep: bool) -> Sequence[int]:
    key = key_of(
        {
            "kind": "ranks",
            "model": exact_identity(model.identity, model.spec),
            "prompts": digest_of_prompts(prompts),
        }
    )
    kept = parts.get(key)
    if kept is not None:
        return list(json.loads((kept / "ranks.json").read_text()))
    ranks = answer_ranks(model, prompts, memory)

    def fill(folder: Path) -> None:
        write_atomically(folder / "ranks.json", json.dumps(ranks))

    if keep:
        parts.put(key, fill)
    return ranks
