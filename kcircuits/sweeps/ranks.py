"""Ranks of a model's answers, stored for the next run of a sweep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kcircuits.data.prompts import Prompt
from kcircuits.evaluation import answer_ranks
from kcircuits.files.writing import write_atomically
from kcircuits.model.identity import exact_identity
from kcircuits.model.loading import Model
from kcircuits.sweeps.keys import digest_of_prompts, key_of
from kcircuits.sweeps.store import Shelf


def read_ranks(
    prompts: Sequence[Prompt], model: Model, memory: int, parts: Shelf, keep: bool
) -> Sequence[int]:
    """Rank of each prompt's answer in the model's prediction.

    Parameters
    ----------
    prompts, model, memory
        As in `kcircuits.evaluation.answer_ranks`.
    parts, keep
        Where ranks may be stored, and whether to store new ones.
    """
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
