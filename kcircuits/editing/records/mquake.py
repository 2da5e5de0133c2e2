"""MQuAKE (arXiv 2305.14795): `requested_rewrite` is a list, and multi-hop questions follow from all of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kcircuits.editing.records.counterfact import request_of_rewrite
from kcircuits.editing.records.values import get_objects, get_text, get_texts
from kcircuits.editing.request import EditRequest, Question, RequestError

NAME = "MQuAKE"


def recognises(record: dict[str, Any]) -> bool:
    """Whether there is a list of rewrites."""
    return isinstance(record.get("requested_rewrite"), list)


def read(record: dict[str, Any], notes: list[str]) -> list[EditRequest]:
    """The edits of a record; the last one has the multi-hop questions."""
    rewrites = get_objects(record, "requested_rewrite")
    if not rewrites:
        raise RequestError("'requested_rewrite' is empty", "'requested_rewrite' is empty")
    edits = [
        replace(request_of_rewrite(rewrite, record), paraphrases=get_texts(rewrite, "question"))
        for rewrite in rewrites
    ]
    questions = get_texts(record, "questions")
    if questions:
        answer = get_text(record, "new_answer")
        hops = tuple(Question(question, answer) for question in questions)
        edits[-1] = replace(edits[-1], portability=hops, together=len(edits) > 1)
    return edits
