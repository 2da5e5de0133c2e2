"""Checked access to the values of a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcircuits.editing.request import Question, RequestError
from kcircuits.files.documents import quote


def get_object(record: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under a key."""
    value = record.get(key)
    if not isinstance(value, dict):
        raise wrong_value(key, "an object", value)
    return value


def get_text(record: dict[str, Any], *keys: str) -> str:
    """The text under the first of some keys that exists."""
    key = next((key for key in keys if record.get(key) is not None), keys[0])
    value = record.get(key)
    if not isinstance(value, str):
        raise wrong_value(key, "text", value)
    return value


def get_texts(record: dict[str, Any], key: str) -> tuple[str, ...]:
    """The texts under a key that may be missing; a single text is a list of one."""
    value = record.get(key) or []
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise wrong_value(key, "a list of texts", value)
    return tuple(value)


def get_objects(record: dict[str, Any], key: str) -> Sequence[dict[str, Any]]:
    """The objects under a key that may be missing."""
    value = record.get(key) or []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise wrong_value(key, "a list of objects", value)
    return value


def first_answer(value: object) -> str | None:
    """The first of some answers: a text, or the first text of nested lists of aliases."""
    while isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) and value.strip() else None


def ground_truths(items: object, key: str, notes: list[str]) -> tuple[Question, ...]:
    """`[{"prompt", "ground_truth"}]` as questions with their first answers; `notes` gets what is left out."""
    if items is None:
        return ()
    if isinstance(items, dict):
        items = [items]
    if not isinstance(items, list):
        raise wrong_value(key, "a list of objects", items)
    found = []
    for item in items:
        prompt = first_answer(item.get("prompt")) if isinstance(item, dict) else None
        answer = first_answer(item.get("ground_truth")) if isinstance(item, dict) else None
        if prompt is None or answer is None:
            notes.append(f"a question of {key!r} has no prompt or no answer")
        else:
            found.append(Question(prompt, answer))
    return tuple(found)


def new_question(record: dict[str, Any], notes: list[str]) -> tuple[Question, ...]:
    """`portability` as EasyEdit added it to zsRE and CounterFact: {"New Question", "New Answer"}."""
    given = record.get("portability")
    if not given:
        return ()
    if not isinstance(given, dict) or "New Question" not in given:
        raise wrong_value("portability", 'an object with "New Question" and "New Answer"', given)
    question, answer = (first_answer(given.get(key)) for key in ("New Question", "New Answer"))
    if question is None or answer is None:
        notes.append("a question of 'portability' has no prompt or no answer")
        return ()
    return (Question(question, answer),)


def wrong_value(key: str, wanted: str, value: object) -> RequestError:
    """An error about a value."""
    return RequestError(f"{key!r} must be {wanted}, got {quote(value)}", f"{key!r} is not {wanted}")
