"""Warnings about prompts that a model reads otherwise than was meant: one per kind, not per prompt."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from kcircuits.data.tokens import TokenisedText, ends_in_loose_space, repeats_special
from kcircuits.errors import KCircuitsWarning
from kcircuits.files.documents import quote

_SPACE = "in a space: tokenizers put the space in front of the next word, so leave it out"
_SPECIAL = (
    "with a special token that the tokenizer puts there by itself, so that it comes twice: "
    "leave it out of the text"
)
_KINDS = {"space": ("ends", "end", _SPACE), "special": ("begins", "begin", _SPECIAL)}

# The texts of every kind, in order, while `gather_warnings` is on.
_found: ContextVar[dict[str, dict[str, None]] | None] = ContextVar("found", default=None)


class PromptWarning(KCircuitsWarning):
    """A prompt is used as it is, and its text is probably not what was meant; the message says what to do."""


@contextmanager
def gather_warnings() -> Iterator[None]:
    """Have what `warn_of_text` finds inside told at the end, in one `PromptWarning` per kind.

    Where one is inside another, the outer one tells.
    """
    if _found.get() is not None:
        yield
        return
    found: dict[str, dict[str, None]] = {kind: {} for kind in _KINDS}
    token = _found.set(found)
    try:
        yield
    finally:
        _found.reset(token)
    for kind, texts in found.items():
        if texts:
            # As a rule the caller's caller is this package, too; the message is what matters.
            warnings.warn(_message(kind, list(texts)), PromptWarning, stacklevel=3)


def warn_of_text(tokenizer: object, prompt: TokenisedText, following: str) -> None:
    """Warn if a prompt's text has a space at its end, or a special token at its beginning, too many.

    Parameters
    ----------
    tokenizer
        Hugging Face tokenizer.
    prompt
        The text and its tokens.
    following
        The word that is expected behind it. A space that stays a token of its own in front of that word, as
        tokenizers that split numbers into digits have it, is nothing to warn of.
    """
    with gather_warnings():
        found = _found.get()
        assert found is not None
        if ends_in_loose_space(tokenizer, prompt, following):
            found["space"][prompt.text] = None
        if repeats_special(prompt):
            found["special"][prompt.text] = None


def _message(kind: str, texts: list[str]) -> str:
    one, many, what = _KINDS[kind]
    if len(texts) == 1:
        return f"the prompt {quote(texts[0])} {one} {what}"
    return f"{len(texts):,} prompts {many} {what}; the first is {quote(texts[0])}"
