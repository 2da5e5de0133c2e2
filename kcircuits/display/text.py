"""Text from models, prompts and files, made fit for pictures and pages."""

from __future__ import annotations

from typing import Any

LONGEST_TEXT = 200


def printable(text: object, longest: int = LONGEST_TEXT) -> str:
    """Text on one line without what XML cannot hold or a reader cannot see.

    Control characters, lone surrogates and marks that change the direction of text become spaces. More than
    `longest` characters are cut, and "…" says so.

    Examples
    --------
    >>> printable("a\\x00b\\u202ec")
    'a b c'
    >>> printable("abcdef", longest=4)
    'abc…'
    """
    shown = str(text)
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    return "".join(char if char.isprintable() else " " for char in shown)


def name_of(model: dict[str, Any]) -> str:
    """What a model's identity calls it, fit for a line of text."""
    return printable(model.get("name", "a model without a name"), 40)


def count_of(number: int, what: str) -> str:
    """A number with the word for it.

    Examples
    --------
    >>> count_of(1, "prompt"), count_of(1200, "prompt")
    ('1 prompt', '1,200 prompts')
    """
    return f"{number:,} {what}{'s' if number != 1 else ''}"
