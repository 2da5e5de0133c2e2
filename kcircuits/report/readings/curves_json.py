"""curves.json: the answer's rank and probability behind every layer, of the full run and a circuit's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcircuits.documents import Keys, anything, check_keys, is_count, is_object, is_text, list_of, or_none
from kcircuits.report.readings.checks import (
    LISTED,
    MOST_PROMPTS,
    TOKENS,
    check_span,
    is_span,
    numbers,
    read_reading,
)

FORMAT = "kcircuits-curves/1"
MEASURES = ("rank", "probability", "subject_best_rank", "subject_last_probability")
_WHAT = "file of layer curves"
_OPTIONAL = MEASURES[2:]


def read(path: str | Path) -> dict[str, Any]:
    """Read a curves.json; every curve has a value per layer. Raises KCircuitsError if it is anything else."""
    return read_reading(path, _WHAT, FORMAT, _DOCUMENT, _check)


def _check(document: dict[str, Any]) -> None:
    runs = ("full", "circuit") if document["circuit"] else ("full",)
    length = len(document["layers"])
    for index, prompt in enumerate(document["prompts"]):
        what = f"prompt {index}"
        check_keys(what, prompt, _PROMPT)
        check_span(what, prompt["subject"], len(prompt["tokens"]))
        for run in runs:
            check_keys(f"{what}, run {run!r}", prompt["runs"].get(run), _curves(length))
    for run in runs:
        bands = check_keys(
            f"summary of {run!r}", document["summary"].get(run), dict.fromkeys(MEASURES, _ANY_BAND)
        )
        for measure in MEASURES:
            if bands[measure] is not None or measure not in _OPTIONAL:
                check_keys(f"summary of {run!r}, {measure!r}", bands[measure], _band(length))


def _curves(length: int) -> Keys:
    values = numbers(length)
    wanted = f"{length} numbers, one per layer"
    return {
        name: (or_none(values), f"{wanted}, or null") if name in _OPTIONAL else (values, wanted)
        for name in MEASURES
    }


def _band(length: int) -> Keys:
    return dict.fromkeys(("mean", "low", "high"), (numbers(length), f"{length} numbers, one per layer"))


_ANY_BAND = (anything, "a band or null")
_DOCUMENT: Keys = {
    "model": (is_object, "an object"),
    "settings": (is_object, "an object"),
    "layers": (list_of(is_count, LISTED), "a list of layers"),
    "circuit": (lambda value: type(value) is bool, "true or false"),
    "prompts": (list_of(anything, MOST_PROMPTS), f"a list of at most {MOST_PROMPTS}"),
    "summary": (is_object, "an object"),
}
_PROMPT: Keys = {
    "tokens": TOKENS,
    "answer": (is_text, "a string"),
    "wrong": (or_none(is_text), "a string or null"),
    "subject": (or_none(is_span), "two rising token positions or null"),
    "runs": (is_object, "an object"),
}
