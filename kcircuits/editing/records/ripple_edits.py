"""RippleEdits (arXiv 2307.12976): a whole sentence is the edit, and six lists of tests say what follows.

The sentence does not say where its subject stands. It is taken to begin with the first word, but for a
leading "The", that does not begin with a small letter; and the relation says which words stand behind it.
"""

from __future__ import annotations

from typing import Any

from kcircuits.editing.records.values import first_answer, get_object, get_objects, get_text
from kcircuits.editing.request import EditRequest, Question, RequestError

NAME = "RippleEdits"

BEHIND_SUBJECT = {
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
"""What stands between the subject and the object; " is" behind other relations."""

LEFT_ALONE = ("Relation_Specificity", "Forgetfulness")
FOLLOWING = ("Logical_Generalization", "Subject_Aliasing", "Compositionality_I", "Compositionality_II")


def recognises(record: dict[str, Any]) -> bool:
    """Whether it has an edit, or tests under one of the names of the six lists."""
    return "edit" in record or any(name in record for name in (*LEFT_ALONE, *FOLLOWING))


def read(record: dict[str, Any], notes: list[str]) -> list[EditRequest]:
    """The edit of a record."""
    edit = get_object(record, "edit")
    sentence, relation = get_text(edit, "prompt"), get_text(edit, "relation")
    prompt, target = _split(sentence, BEHIND_SUBJECT.get(relation, " is"))
    return [
        EditRequest(
            _subject(prompt, BEHIND_SUBJECT.get(relation, " is")),
            prompt,
            target,
            _old(edit, prompt, target),
            neighbours=_questions(record, LEFT_ALONE, notes),
            portability=_questions(record, FOLLOWING, notes),
        )
    ]


def _split(sentence: str, behind: str) -> tuple[str, str]:
    start, found, target = sentence.partition(f"{behind} ")
    if not found or not target.rstrip(". "):
        raise RequestError(
            f"the edit's sentence {sentence!r} has no object behind {behind.strip()!r}",
            "the edit's sentence cannot be split into prompt and object",
        )
    return f"{start}{behind}", target.removesuffix(".").strip()


def _subject(prompt: str, behind: str) -> str:
    words = prompt.removesuffix(behind).split(" ")
    first = 1 if words[0] == "The" and len(words) > 1 and words[1][:1].islower() else 0
    begin = next((n for n in range(first, len(words)) if not words[n][:1].islower()), None)
    if begin is None:
        raise RequestError(
            f"the subject of the edit {prompt!r} cannot be told from the words before it",
            "the subject cannot be told from the words before it",
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
