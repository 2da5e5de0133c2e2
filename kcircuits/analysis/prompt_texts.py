"""Prompts as a reader sees them: the text of their tokens, of the answers, and where the subject is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kcircuits.data.prompts import Prompt
from kcircuits.model.loading import Model


@dataclass(frozen=True)
class PromptText:
    """A prompt's tokens and answers as text; `subject` is the span [first, end) of its tokens, or None."""

    tokens: tuple[str, ...]
    answer: str
    wrong: str | None
    subject: tuple[int, int] | None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "tokens": list(self.tokens), "subject": self.subject and list(self.subject)}


def texts_of(model: Model, prompts: Sequence[Prompt]) -> tuple[PromptText, ...]:
    """The text of every prompt."""
    return tuple(
        PromptText(
            tuple(text_of(model, token) for token in prompt.clean_ids),
            text_of(model, prompt.answer_id),
            None if prompt.wrong_id is None else text_of(model, prompt.wrong_id),
            prompt.subject,
        )
        for prompt in prompts
    )


def text_of(model: Model, token: int) -> str:
    """The text of a token, leading space included; of a model without a tokenizer its id."""
    return str(token) if model.tokenizer is None else str(model.tokenizer.decode([token]))
