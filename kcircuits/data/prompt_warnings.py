"""Warnings about prompts whose tokens probably differ from what you meant, one per kind of problem."""

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
    "with a special token that the tokenizer adds anyway, so that it occurs twice: leave it out of the text"
)
_KINDS = {"space": ("ends", "end", _SPACE), "special": ("begins", "begin", _SPECIAL)}

# Texts by kind of warning, in order, inside `gather_warnings`.
_found: ContextVar[dict[str, dict[str, None]] | None] = ContextVar("found", default=None)


class PromptWarning(KCircuitsWarning):
    """A prompt is used as given, but its text is probably not what you meant; the message says what to do."""


@contextmanager
def gather_warnings() -> Iterator[None]:
    """Collect the findings of `warn_of_text` in this block and issue one `PromptWarning` per kind at its end.

    Nested blocks issue their warnings at the end of the outermost one.
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
            # The caller's caller is usually this package too; only the message matters.
            warnings.warn(_message(kind, list(texts)), PromptWarning, stacklevel=3)


def warn_of_text(tokenizer: object, prompt: TokenisedText, following: str) -> None:
    """Warn if a prompt ends in a superfluous space or begins with a superfluous special token.

    Parameters
    ----------
    tokenizer
        Hugging Face tokenizer.
    prompt
        The text and its tokens.
    following
        The word that is expected next. There is no warning if the space is a token of its own before that
        word, as in tokenizers that split numbers into digits.
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
