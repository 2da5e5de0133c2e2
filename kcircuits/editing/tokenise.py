"""Tokenised edits: prompts, targets and ends of subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kcircuits.data.prompt_warnings import gather_warnings, warn_of_text
from kcircuits.data.tokens import answer_ids, subject_span, tokenise_text
from kcircuits.editing.request import EditRequest
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import Model

ESSENCE = "{} is a"
"""A prompt whose continuation an edit should not change: what the subject is (ROME, section 3.1)."""


@dataclass(frozen=True)
class SubjectPrompt:
    """A prompt's tokens, and the position of the subject's last token."""

    ids: tuple[int, ...]
    subject_last: int


@dataclass(frozen=True)
class TokenisedEdit:
    """One edit.

    Parameters
    ----------
    prompt
        The prompt itself.
    prefixed
        The prompt after each prefix.
    essence
        The subject's `ESSENCE`.
    target
        The target's tokens.
    """

    prompt: SubjectPrompt
    prefixed: tuple[SubjectPrompt, ...]
    essence: SubjectPrompt
    target: tuple[int, ...]


def tokenise_edit(model: Model, request: EditRequest, prefixes: Sequence[str] = ()) -> TokenisedEdit:
    """Tokenise an edit.

    Raises
    ------
    KCircuitsError
        If the model has no tokenizer, a text has no tokens, the target is not in the vocabulary, or a prompt
        with its target is too long for the model.
    """
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise KCircuitsError("this model has no tokenizer, which edits need because they are text")
    start = request.prompt.rindex(request.subject)
    prompt = tokenise_text(tokenizer, request.prompt, "prompt")
    target = answer_ids(tokenizer, prompt, request.target, "target")
    _warn_of_texts(tokenizer, request)

    def at(text: str, begin: int) -> SubjectPrompt:
        return subject_prompt(tokenizer, text, (begin, begin + len(request.subject)))

    edit = TokenisedEdit(
        at(request.prompt, start),
        tuple(at(f"{prefix} {request.prompt}", len(prefix) + 1 + start) for prefix in prefixes),
        at(ESSENCE.format(request.subject), 0),
        target,
    )
    longest = max(len(each.ids) for each in (edit.prompt, edit.essence, *edit.prefixed)) + len(target)
    if longest > model.spec.max_positions:
        raise KCircuitsError(
            f"the edit of {request.subject!r} has {longest} tokens, but the model takes at most "
            f"{model.spec.max_positions}"
        )
    return edit


@gather_warnings()
def _warn_of_texts(tokenizer: Any, request: EditRequest) -> None:
    """Warn about problems of the prompt and the questions of an edit."""
    asked = [(prompt, request.target) for prompt in (request.prompt, *request.paraphrases)]
    asked += [(each.prompt, each.answer) for each in (*request.neighbours, *request.portability)]
    for text, answer in asked:
        if text.strip():  # blank questions are refused when they are used
            warn_of_text(tokenizer, tokenise_text(tokenizer, text, "prompt"), answer)


def subject_prompt(tokenizer: Any, text: str, subject: str | tuple[int, int]) -> SubjectPrompt:
    """A text's tokens and the end of its subject."""
    tokens = tokenise_text(tokenizer, text, "prompt")
    return SubjectPrompt(tokens.ids, subject_span(tokenizer, tokens, subject)[1] - 1)
