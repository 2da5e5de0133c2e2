"""What is to be edited: one fact, and the prompts that show what the edit did."""

from __future__ import annotations

from dataclasses import dataclass

from kcircuits.errors import KCircuitsError


class RequestError(KCircuitsError):
    """An edit that cannot be used; `reason` is the short name under which such records are counted."""

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
        Occurs in the prompt.
    prompt
        The text that the target shall follow.
    target
        The new object, of one or more tokens.
    target_true
        The old one, which the target is compared with.
    paraphrases
        The same question in other words: the target shall follow them, too.
    neighbours
        Questions that the edit shall leave as they are.
    portability
        Questions whose answer follows from the new fact.
    together
        Whether they follow from it only with the other edits of its record, in one model (MQuAKE).

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
                f"the target {self.target!r} is what is true already: there is nothing to edit",
                "the target is what is true already",
            )
