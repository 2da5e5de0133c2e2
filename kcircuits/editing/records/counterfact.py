"""CounterFact (arXiv 2202.05262): `requested_rewrite` is an object."""

from __future__ import annotations

from typing import Any

from kcircuits.editing.records.values import get_object, get_text, get_texts, new_question
from kcircuits.editing.request import EditRequest, Question

NAME = "CounterFact"


def recognises(record: dict[str, Any]) -> bool:
    """Whether it has the key. MQuAKE, which has a list there, is tested before."""
    return "requested_rewrite" in record


def read(record: dict[str, Any], notes: list[str]) -> list[EditRequest]:
    """The edit of a record."""
    request = request_of_rewrite(get_object(record, "requested_rewrite"), record)
    assert request.target_true is not None
    true = request.target_true
    return [
        EditRequest(
            request.subject,
            request.prompt,
            request.target,
            true,
            get_texts(record, "paraphrase_prompts"),
            tuple(Question(prompt, true) for prompt in get_texts(record, "neighborhood_prompts")),
            new_question(record, notes),
        )
    ]


def request_of_rewrite(rewrite: dict[str, Any], record: dict[str, Any]) -> EditRequest:
    """The edit of a `requested_rewrite`; its subject may be under `entity`, there or in the record."""
    named = rewrite if {"subject", "entity"} & rewrite.keys() else {**record, **rewrite}
    subject = get_text(named, "subject", "entity")
    new, true = (get_text(get_object(rewrite, key), "str") for key in ("target_new", "target_true"))
    return EditRequest(subject, get_text(rewrite, "prompt").replace("{}", subject), new, true)
