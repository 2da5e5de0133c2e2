"""Checks for the files of readings."""

from __future__ import annotations

from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import (
    Check,
    Keys,
    check_format,
    check_keys,
    is_number,
    is_text,
    list_of,
    quote,
)

MOST_PROMPTS = 10_000
MOST_TOKENS = 100_000
LISTED = 200_000

TOKENS = (list_of(is_text, MOST_TOKENS), "a list of strings")


def check_document(document: object, what: str, expected: str, keys: Keys) -> dict[str, Any]:
    """A document of the format `expected` with these keys.

    Raises KCircuitsError if it is anything else; `what` names it.
    """
    if not isinstance(document, dict):
        raise KCircuitsError(f"not a {what}: expected a JSON object, got {quote(document)}")
    check_format(document.get("format"), expected, what)
    return check_keys(what, document, keys)


def numbers(length: int) -> Check:
    """A check for lists of exactly `length` numbers."""
    return lambda value: isinstance(value, list) and len(value) == length and all(map(is_number, value))


def square(length: int) -> Check:
    """A check for square matrices of numbers."""
    row = numbers(length)
    return lambda value: isinstance(value, list) and len(value) == length and all(map(row, value))


def answer_curve(length: int) -> Keys:
    """The keys of an answer's curve: its rank, at least 1, and its probability after each layer."""
    values = numbers(length)

    def ranks(value: object) -> bool:
        return isinstance(value, list) and values(value) and all(rank >= 1 for rank in value)

    return {
        "rank": (ranks, f"{length} numbers from 1 on, one per layer"),
        "probability": (values, f"{length} numbers, one per layer"),
    }


def is_span(value: object) -> bool:
    """True for the first token of a subject and the one after its last."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(end) is int for end in value)
        and 0 <= value[0] < value[1]
    )


def check_span(what: str, span: list[int] | None, num_tokens: int) -> None:
    """Check that a subject is inside its prompt."""
    if span is not None and span[1] > num_tokens:
        raise KCircuitsError(f"{what}: 'subject' ends at {span[1]}, and there are {num_tokens} tokens")
