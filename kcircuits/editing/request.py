"""An edit request: one fact, and the prompts that measure the effect of the edit."""

from __future__ import annotations

from dataclasses import dataclass

from kcircuits.errors import KCircuitsError


class RequestError(KCircuitsError):
    """An edit that cannot be used; `reason` is a short name for counting such records."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Question:
    """A prompt and what should follow it."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class EditRequest:
    """Make the model continue a prompt about a subject with a target.

    Parameters
    ----------
    subject
        The subject, which occurs in the prompt.
    prompt
        The text that the target should follow.
    target
        The new object, of one or more tokens.
    target_true
        The old object, which the target is compared with.
    paraphrases
        The same question in other words, which the target should follow, too.
    neighbours
        Questions whose answers the edit should not change.
    portability
        Questions whose answers follow from the new fact.
    together
        Whether they follow only with all edits of the record in one model (MQuAKE).

    Raises
    ------
    RequestError
        If a text is empty, the subject does not occur in the prompt, or the target is the true one.
    """

    subject: str
    prompt: str
    target: str
    target_true: str | None = None
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[Question, ...] = ()
    portability: tuple[Question, ...] = ()
    together: bool = False

    def __post_init__(self) -> None:
        for name in ("subject", "prompt", "target"):
            if not getattr(self, name).strip():
                raise RequestError(f"an edit's {name!r} is empty", f"{name!r} is empty")
        if self.subject not in self.prompt:
            raise RequestError(
                f"subject {self.subject!r} does not occur in the prompt {self.prompt!r}",
                "the subject does not occur in the prompt",
            )
        if self.target_true is not None and self.target.strip() == self.target_true.strip():
            raise RequestError(
                f"the target {self.target!r} is already the true object: nothing to edit",
                "the target is already the true object",
            )
