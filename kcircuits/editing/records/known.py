"""ROME's known_1000.json: facts that a model knows. With a new object a record is an edit."""

from __future__ import annotations

from typing import Any

from kcircuits.editing.records.values import get_text
from kcircuits.editing.request import EditRequest, RequestError

NAME = "ROME's known facts"


def recognises(record: dict[str, Any]) -> bool:
    """Whether it has the known object under ROME's key."""
    return "attribute" in record and ("known_id" in record or "template" in record)


def read(record: dict[str, Any], notes: list[str]) -> list[EditRequest]:
    """The edit of a record with `target` or `target_new`."""
    if record.get("target") is None and record.get("target_new") is None:
        raise RequestError(
            "one of ROME's known facts has no new object: add a 'target', or use the file as --prompts",
            "a known fact without a new object: add a 'target', or use the file as --prompts",
        )
    subject, target = get_text(record, "subject"), get_text(record, "target", "target_new")
    return [EditRequest(subject, get_text(record, "prompt"), target, get_text(record, "attribute"))]
