"""Text from models, prompts and files, made fit for pictures and pages."""

from __future__ import annotations

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
