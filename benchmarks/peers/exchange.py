"""Prompts in the form in which the benchmark's processes exchange them: columns of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcircuits.data.prompts import Prompt


def as_columns(prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Convert prompts to JSON values."""
    return {
        "clean": [prompt.clean_ids for prompt in prompts],
        "answers": [prompt.answer_id for prompt in prompts],
        "corrupt": [prompt.corrupt_ids for prompt in prompts],
        "wrong": [prompt.wrong_id for prompt in prompts],
    }


def as_prompts(columns: dict[str, Any]) -> tuple[Prompt, ...]:
    """Convert JSON values to prompts."""
    rows = zip(*(columns[name] for name in ("clean", "answers", "corrupt", "wrong")), strict=True)
    return tuple(
        Prompt(tuple(clean), answer, corrupt and tuple(corrupt), wrong)
        for clean, answer, corrupt, wrong in rows
    )
