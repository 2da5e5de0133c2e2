"""RippleEdits (arXiv 2307.12976): the edit is a whole sentence, and six lists of tests have its consequences.

The sentence does not mark its subject. The subject is assumed to begin at the first word that does not begin
with a lower-case letter, not counting a leading "The". The relation determines the words after the subject.
"""

from __future__ import annotations

from typing import Any

from kcircuits.editing.records.values import first_answer, get_object, get_objects, get_text
from kcircuits.editing.request import EditRequest, Question, RequestError

NAME = "RippleEdits"

AFTER_SUBJECT = {
    "SIBLING": " are",
    "CAST_MEMBER": " are",
    "NUMBER_OF_CHILDREN": " has is",
    "COUNTRY": " is associated with is",
    "ETHNIC_GROUP": " is associated with is",
    "RELIGION": " is associated with is",
    "MEMBER_OF_SPORTS_TEAM": " is a member of is",
    "LEAGUE": " plays in is",
    "AWARD_RECEIVED": " won is",
    "CONTINENT": " is part of is",
    "CAPITAL_OF": " is the capital of is",
    "FOLLOWS": " follows",
    "FOLLOWED_BY": " is followed by",
}
"""The words between subject and object; " is" for other relations."""

LEFT_ALONE = ("Relation_Specificity", "Forgetfulness")
FOLLOWING = ("Logical_Generalization", "Subject_Aliasing", "Compositionality_I", "Compositionality_II")


def recognises(record: dict[str, Any]) -> bool:
    """Whether it has an edit, or tests under one of the names of the six lists."""
    return "edit" in record or any(name in record for name in (*LEFT_ALONE, *FOLLOWING))


def read(record: dict[str, Any], notes: list[str]) -> list[EditRequest]:
    """The edit of a record."""
    edit = get_object(record, "edit")
    sentence, relation = get_text(edit, "prompt"), get_text(edit, "relation")
    prompt, target = _split(sentence, AFTER_SUBJECT.get(relation, " is"))
    return [
        EditRequest(
            _subject(prompt, AFTER_SUBJECT.get(relation, " is")),
            prompt,
            target,
            _old(edit, prompt, target),
            neighbours=_questions(record, LEFT_ALONE, notes),
            portability=_questions(record, FOLLOWING, notes),
        )
    ]


def _split(sentence: str, link: str) -> tuple[str, str]:
    start, found, target = sentence.partition(f"{link} ")
    if not found or not target.rstrip(". "):
        raise RequestError(
            f"the edit's sentence {sentence!r} has no object after {link.strip()!r}",
            "the edit's sentence cannot be split into prompt and object",
        )
    return f"{start}{link}", target.removesuffix(".").strip()


def _subject(prompt: str, link: str) -> str:
    words = prompt.removesuffix(link).split(" ")
    first = 1 if words[0] == "The" and len(words) > 1 and words[1][:1].islower() else 0
    begin = next((n for n in range(first, len(words)) if not words[n][:1].islower()), None)
    if begin is None:
        raise RequestError(
            f"the subject of the edit {prompt!r} cannot be found",
            "the subject cannot be found",
        )
    return " ".join(words[begin:])


def _old(edit: dict[str, Any], prompt: str, target: str) -> str | None:
    """The object of the previous fact, if there is one with the same prompt."""
    previous = next(
        (edit[key] for key in ("original_fact", "previous_fact") if isinstance(edit.get(key), dict)), None
    )
    if previous is None:
        return None
    sentence = get_text(previous, "prompt")
    old = sentence.removeprefix(f"{prompt} ").removesuffix(".").strip()
    return old if sentence.startswith(f"{prompt} ") and old and old != target else None


def _questions(record: dict[str, Any], groups: tuple[str, ...], notes: list[str]) -> tuple[Question, ...]:
    """Every test query with its first answer."""
    found = []
    for group in groups:
        for test in get_objects(record, group):
            for query in get_objects(test, "test_queries"):
                answers = [first_answer(each.get("value")) for each in get_objects(query, "answers")]
                answer = next((answer for answer in answers if answer is not None), None)
                if answer is None:
                    notes.append(f"a question of {group!r} has no answer")
                else:
                    found.append(Question(get_text(query, "prompt"), answer))
    return tuple(found)
