"""Text from models, prompts and files, cleaned for pictures and pages."""

from __future__ import annotations

from typing import Any

LONGEST_TEXT = 200


def printable(text: object, longest: int = LONGEST_TEXT) -> str:
    """Text on one line, without characters that are invalid in XML or invisible.

    Control characters, lone surrogates and marks that change the direction of text become spaces. Text of
    more than `longest` characters is cut and ends with "…".

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
    """The name in a model's identity, shortened for a line of text."""
    return printable(model.get("name", "a model without a name"), 40)


def count_of(number: int, what: str) -> str:
    """A number with the word for it.

    Examples
    --------
    >>> count_of(1, "prompt"), count_of(1200, "prompt")
    ('1 prompt', '1,200 prompts')
    """
    return f"{number:,} {what}{'s' if number != 1 else ''}"
