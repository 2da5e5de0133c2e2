"""Prompts as text for readers: their tokens, answers and subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kcircuits.analysis.checks import TOKENS, check_span, is_span
from kcircuits.data.prompts import Prompt
from kcircuits.files.documents import Keys, check_keys, is_text, or_none
from kcircuits.model.loading import Model

_PROMPT: Keys = {
    "tokens": TOKENS,
    "answer": (is_text, "a string"),
    "subject": (or_none(is_span), "two rising token positions or null"),
}


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

    @classmethod
    def from_json(cls, what: str, prompt: object) -> PromptText:
        """The prompt that an object of `to_json` holds; `wrong` may be missing.

        Raises KCircuitsError if it is anything else; `what` names it.
        """
        found = check_keys(what, prompt, _PROMPT)
        if "wrong" in found:
            check_keys(what, found, {"wrong": (or_none(is_text), "a string or null")})
        span = found["subject"]
        check_span(what, span, len(found["tokens"]))
        return cls(tuple(found["tokens"]), found["answer"], found.get("wrong"), span and (span[0], span[1]))


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
