"""heads.json: what heads and MLPs write and where heads attend to, prompt by prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcircuits.documents import (
    Keys,
    anything,
    check_keys,
    is_count,
    is_number,
    is_object,
    is_text,
    list_of,
    or_none,
)
from kcircuits.errors import KCircuitsError
from kcircuits.report.readings.checks import (
    LISTED,
    MOST_PROMPTS,
    TOKENS,
    check_span,
    is_span,
    numbers,
    read_reading,
)

FORMAT = "kcircuits-heads/1"
_WHAT = "file of head readings"


def read(path: str | Path) -> dict[str, Any]:
    """Read a heads.json; every attention row has a number per token.

    Raises KCircuitsError if it is anything else.
    """
    return read_reading(path, _WHAT, FORMAT, _DOCUMENT, _check)


def _check(document: dict[str, Any]) -> None:
    for index, prompt in enumerate(document["prompts"]):
        what = f"prompt {index}"
        check_keys(what, prompt, _PROMPT)
        length = len(prompt["tokens"])
        check_span(what, prompt["subject"], length)
        for number, node in enumerate(prompt["nodes"]):
            check_node(f"{what}, node {number}", node, length)


def check_node(what: str, node: object, num_tokens: int) -> None:
    """Make sure that an object is what one node does at a position of a prompt of so many tokens.

    Raises KCircuitsError if it is not.
    """
    found = check_keys(what, node, _NODE)
    if found["position"] >= num_tokens:
        raise KCircuitsError(f"{what}: 'position' is {found['position']}, and there are {num_tokens} tokens")
    attention = (or_none(numbers(num_tokens)), f"{num_tokens} numbers or null")
    check_keys(what, found, {"attention": attention})


def _is_top(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and is_text(value[0]) and is_number(value[1])


_DOCUMENT: Keys = {
    "model": (is_object, "an object"),
    "settings": (is_object, "an object"),
    "prompts": (list_of(anything, MOST_PROMPTS), f"a list of at most {MOST_PROMPTS}"),
}
_PROMPT: Keys = {
    "tokens": TOKENS,
    "answer": (is_text, "a string"),
    "subject": (or_none(is_span), "two rising token positions or null"),
    "nodes": (list_of(anything, LISTED), "a list"),
}
_NODE: Keys = {
    "node": (is_text, "a string"),
    "position": (is_count, "a whole number from 0 on"),
    "logit": (is_number, "a number"),
    "share": (is_number, "a number"),
    "rank": (is_number, "a number"),
    "top": (list_of(_is_top, 1000), "a list of tokens with their logits"),
}
