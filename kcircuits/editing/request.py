"""What is to be edited: one fact, and the prompts that show what the edit did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcircuits.documents import parse_json, read_text, shown
from kcircuits.errors import KCircuitsError


@dataclass(frozen=True)
class Question:
    """A prompt and what should follow it."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class EditRequest:
    """Make the model continue a prompt about a subject with a target.

    Parameters
    ----------
    subject
        Occurs in the prompt.
    prompt
        The text that the target shall follow.
    target
        The new object, of one or more tokens.
    target_true
        The old one, which the target is compared with.
    paraphrases
        The same question in other words: the target shall follow them, too.
    neighbours
        Questions that the edit shall leave as they are.
    portability
        Questions whose answer follows from the new fact.

    Raises
    ------
    KCircuitsError
        If a text is empty, the subject does not occur in the prompt, or the target is the true one.
    """

    subject: str
    prompt: str
    target: str
    target_true: str | None = None
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[Question, ...] = ()
    portability: tuple[Question, ...] = ()

    def __post_init__(self) -> None:
        for name in ("subject", "prompt", "target"):
            if not getattr(self, name).strip():
                raise KCircuitsError(f"an edit's {name!r} is empty")
        if self.subject not in self.prompt:
            raise KCircuitsError(f"subject {self.subject!r} does not occur in the prompt {self.prompt!r}")
        if self.target_true is not None and self.target.strip() == self.target_true.strip():
            raise KCircuitsError(
                f"the target {self.target!r} is what is true already: there is nothing to edit"
            )


def read_requests(path: str | Path) -> tuple[EditRequest, ...]:
    """Read edits from JSON lines, or from one JSON list; every record in one of three forms.

    * ours: `{"subject", "prompt", "target", "target_true"?, "paraphrases"?: [text], "neighbours"?,
      "portability"?}`, the last two lists of `{"prompt", "answer"}`; "{}" in the prompt is the subject;
    * CounterFact's (arXiv 2202.05262): `requested_rewrite`, `paraphrase_prompts`, `neighborhood_prompts`;
    * zsRE's as model editing uses it (arXiv 2110.11309): `subject`, `src`, `alt`, `answers` or `pred`,
      `rephrase`, `loc` with `loc_ans`.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, holds no edit, or a record is not like one of them; the message has the
        record's number.
    """
    text = read_text(path, "file of edits")
    if text.lstrip().startswith("["):
        records = parse_json(text, "file of edits")
        assert isinstance(records, list)
    else:
        lines = (line for line in text.splitlines() if line.strip())
        records = [_numbered(number, path, _parse, line) for number, line in enumerate(lines, start=1)]
    if not records:
        raise KCircuitsError(f"{path} has no edits")
    return tuple(_numbered(number, path, _request, record) for number, record in enumerate(records, start=1))


def _numbered(number: int, path: str | Path, read: Callable[[Any], Any], record: Any) -> Any:
    try:
        return read(record)
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}, edit {number}: {error}") from error


def _parse(line: str) -> object:
    return parse_json(line, "edit")


def _request(record: object) -> EditRequest:
    if not isinstance(record, dict):
        raise KCircuitsError(f"an edit must be a JSON object, got {shown(record)}")
    if "requested_rewrite" in record:
        return _of_counterfact(record)
    if "src" in record:
        return _of_zsre(record)
    subject = _text(record, "subject")
    return EditRequest(
        subject,
        _text(record, "prompt").replace("{}", subject),
        _text(record, "target"),
        _text(record, "target_true") if record.get("target_true") is not None else None,
        _texts(record, "paraphrases"),
        _questions(record, "neighbours"),
        _questions(record, "portability"),
    )


def _of_counterfact(record: dict[str, Any]) -> EditRequest:
    rewrite = _object(record, "requested_rewrite")
    subject = _text(rewrite, "subject")
    new, true = (_text(_object(rewrite, key), "str") for key in ("target_new", "target_true"))
    return EditRequest(
        subject,
        _text(rewrite, "prompt").replace("{}", subject),
        new,
        true,
        _texts(record, "paraphrase_prompts"),
        tuple(Question(prompt, true) for prompt in _texts(record, "neighborhood_prompts")),
    )


def _of_zsre(record: dict[str, Any]) -> EditRequest:
    answers = _texts(record, "answers")
    true = answers[0] if answers else (_text(record, "pred") if record.get("pred") else None)
    target = _text(record, "alt")
    # zsRE's location prompts begin "nq question: "; the question is what a model is asked.
    neighbours = (
        (Question(_text(record, "loc").removeprefix("nq question: "), _text(record, "loc_ans")),)
        if record.get("loc")
        else ()
    )
    return EditRequest(
        _text(record, "subject"),
        _text(record, "src"),
        target,
        None if true is None or true.strip() == target.strip() else true,
        (_text(record, "rephrase"),) if record.get("rephrase") else (),
        neighbours,
    )


def _object(record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    if not isinstance(value, dict):
        raise KCircuitsError(f"{key!r} must be an object, got {shown(value)}")
    return value


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise KCircuitsError(f"{key!r} must be text, got {shown(value)}")
    return value


def _texts(record: dict[str, Any], key: str) -> tuple[str, ...]:
    value = record.get(key) or []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise KCircuitsError(f"{key!r} must be a list of texts, got {shown(value)}")
    return tuple(value)


def _questions(record: dict[str, Any], key: str) -> tuple[Question, ...]:
    value = record.get(key) or []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise KCircuitsError(f'{key!r} must be a list of {{"prompt", "answer"}}, got {shown(value)}')
    return tuple(Question(_text(each, "prompt"), _text(each, "answer")) for each in value)
