"""hallucination.json: where wrong answers overtake right ones, and the nodes that decide it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcircuits.documents import Keys, anything, check_keys, is_count, is_number, is_object, is_text, list_of
from kcircuits.errors import KCircuitsError
from kcircuits.report.readings.checks import (
    LISTED,
    MOST_PROMPTS,
    TOKENS,
    answer_curve,
    read_reading,
)

FORMAT = "kcircuits-hallucination/1"
RUNS = ("right", "wrong")
_WHAT = "file of errors"


def read(path: str | Path) -> dict[str, Any]:
    """Read a hallucination.json; every curve has a value per layer.

    Raises KCircuitsError if it is anything else.
    """
    return read_reading(path, _WHAT, FORMAT, _DOCUMENT, _check)


def _check(document: dict[str, Any]) -> None:
    check_keys("settings", document["settings"], _SETTINGS)
    layers = document["layers"]
    if not document["prompts"]:
        raise KCircuitsError(f"{_WHAT}: 'prompts' is empty, so there is no error in it")
    curve = answer_curve(len(layers))
    for index, prompt in enumerate(document["prompts"]):
        what = f"prompt {index}"
        check_keys(what, prompt, _PROMPT)
        for run in RUNS:
            check_keys(f"{what}, run {run!r}", prompt["runs"].get(run), curve)
        for key in ("overtakes", "best_layer"):
            if prompt[key] not in layers:
                raise KCircuitsError(f"{what}: {key!r} is {prompt[key]}, which is none of the layers")
        for place, node in enumerate(prompt["nodes"]):
            check_keys(f"{what}, node {place}", node, _NODE)
    for place, node in enumerate(document["recurring"]):
        check_keys(f"recurring, {place}", node, _NODE | _COUNTED)


_NUMBER = (is_number, "a number")
_TEXT = (is_text, "a string")
_COUNT = (is_count, "a whole number from 0 on")
_DOCUMENT: Keys = {
    "model": (is_object, "an object"),
    "settings": (is_object, "an object"),
    "layers": (list_of(is_count, LISTED), "a list of layers"),
    "prompts": (list_of(anything, MOST_PROMPTS), f"a list of at most {MOST_PROMPTS}"),
    "recurring": (list_of(anything, LISTED), "a list"),
}
_SETTINGS: Keys = {"num_prompts": _COUNT, "num_errors": _COUNT}
_PROMPT: Keys = {
    "tokens": TOKENS,
    "answer": _TEXT,
    "wrong": _TEXT,
    "runs": (is_object, "an object"),
    "overtakes": _COUNT,
    "best_layer": _COUNT,
    "best_rank": _NUMBER,
    "difference": _NUMBER,
    "nodes": (list_of(anything, LISTED), "a list"),
}
_NODE: Keys = {"node": _TEXT, "difference": _NUMBER, "share": _NUMBER}
_COUNTED: Keys = {"errors": _COUNT}
