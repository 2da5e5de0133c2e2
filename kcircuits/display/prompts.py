"""Prompts as short texts for tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 70


def prompt_text(tokens: Sequence[str]) -> str:
    """The text of a prompt; only the end of a long one.

    Examples
    --------
    >>> prompt_text(["In", " France", " they", " speak"])
    'In France they speak'
    """
    text = "".join(tokens).strip()
    return text if len(text) <= LONGEST else f"…{text[1 - LONGEST :]}"
