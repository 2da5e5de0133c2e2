"""The records of kcircuits: `subject`, `prompt`, `target`, and questions to measure the edit."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from kcircuits.editing.records.values import get_objects, get_text, get_texts, wrong_value
from kcircuits.editing.request import EditRequest, Question
from kcircuits.errors import KCircuitsError

NAME = "kcircuits"
KEYS = ("subject", "prompt", "target", "target_true", "paraphrases", "neighbours", "portability")


class MisspeltKeyError(KCircuitsError):
    """A key that is close to a known one. Its values would be ignored in all records of the file."""


def recognises(record: dict[str, Any]) -> bool:
    """Whether a record has a target, or a subject and a prompt and no keys of another format."""
    return "target" in record or {"subject", "prompt"} <= record.keys()


def read(record: dict[str, Any], notes: list[str]) -> list[EditRequest]:
    """The edit of a record."""
    for key in record:
        if key not in KEYS:
            if close := get_close_matches(key, KEYS, n=1, cutoff=0.75):
                raise MisspeltKeyError(f"unknown key {key!r}: did you mean {close[0]!r}?")
            notes.append(f"the key {key!r} is not read")
    subject = get_text(record, "subject")
    return [
        EditRequest(
            subject,
            get_text(record, "prompt").replace("{}", subject),
            get_text(record, "target"),
            get_text(record, "target_true") if record.get("target_true") is not None else None,
            _paraphrases(record),
            _questions(record, "neighbours"),
            _questions(record, "portability"),
        )
    ]


def _paraphrases(record: dict[str, Any]) -> tuple[str, ...]:
    if isinstance(record.get("paraphrases"), str):
        raise wrong_value("paraphrases", "a list of texts", record["paraphrases"])
    return get_texts(record, "paraphrases")


def _questions(record: dict[str, Any], key: str) -> tuple[Question, ...]:
    return tuple(
        Question(get_text(each, "prompt"), get_text(each, "answer")) for each in get_objects(record, key)
    )
