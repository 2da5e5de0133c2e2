"""zsRE as model editing uses it (arXiv 2110.11309): `src` and `alt`."""

from __future__ import annotations

from typing import Any

from kcircuits.editing.records.values import get_text, get_texts, new_question
from kcircuits.editing.request import EditRequest, Question

NAME = "zsRE"


def recognises(record: dict[str, Any]) -> bool:
    """Whether it has the question under zsRE's key."""
    return "src" in record


def read(record: dict[str, Any], notes: list[str]) -> list[EditRequest]:
    """The edit of a record."""
    answers = get_texts(record, "answers")
    true = answers[0] if answers else (get_text(record, "pred") if record.get("pred") else None)
    target = get_text(record, "alt")
    # zsRE's locality prompts begin with "nq question: ", which is not part of the question.
    neighbours = (
        (Question(get_text(record, "loc").removeprefix("nq question: "), get_text(record, "loc_ans")),)
        if record.get("loc")
        else ()
    )
    return [
        EditRequest(
            get_text(record, "subject"),
            get_text(record, "src"),
            target,
            None if true is None or true.strip() == target.strip() else true,
            get_texts(record, "rephrase"),
            neighbours,
            new_question(record, notes),
        )
    ]
