"""KnowEdit and EasyEdit's own lists (arXiv 2401.01286): `target_new` is a text; or WikiBio's `labels`."""

from __future__ import annotations

from typing import Any

from kcircuits.editing.records.values import (
    first_answer,
    get_text,
    get_texts,
    ground_truths,
    new_question,
    wrong_value,
)
from kcircuits.editing.request import EditRequest, Question

NAME = "KnowEdit"
NO_TRUTH = "<|endoftext|>"
"""EasyEdit's value for an unknown old object."""


def recognises(record: dict[str, Any]) -> bool:
    """Whether it has the new object under one of KnowEdit's keys."""
    return "target_new" in record or {"concept", "labels"} <= record.keys()


def read(record: dict[str, Any], notes: list[str]) -> list[EditRequest]:
    """The edit of a record; of answers with aliases, the first is taken."""
    subject, target = get_text(record, "subject", "concept"), get_text(record, "target_new", "labels")
    true = first_answer(record.get("ground_truth"))
    if true == NO_TRUTH:
        true = None
    return [
        EditRequest(
            subject,
            get_text(record, "prompt", "text").replace("{}", subject),
            target,
            None if true is None or true.strip() == target.strip() else true,
            get_texts(record, "rephrase") or get_texts(record, "rephrase_prompt"),
            _groups(record, "locality", notes) + _flat(record, "locality"),
            _groups(record, "portability", notes) + _flat(record, "portability"),
        )
    ]


def _groups(record: dict[str, Any], key: str, notes: list[str]) -> tuple[Question, ...]:
    """The questions of all groups, such as Relation_Specificity and Forgetfulness."""
    groups = record.get(key) or {}
    if "New Question" in groups:
        return new_question(record, notes)
    if not isinstance(groups, dict):
        raise wrong_value(key, "an object of lists", groups)
    return tuple(question for name, items in groups.items() for question in ground_truths(items, name, notes))


def _flat(record: dict[str, Any], kind: str) -> tuple[Question, ...]:
    """The single question of EasyEdit's lists, which has its own keys."""
    prompt = first_answer(record.get(f"{kind}_prompt"))
    answer = first_answer(record.get(f"{kind}_ground_truth"))
    return () if prompt is None or answer is None else (Question(prompt, answer),)
