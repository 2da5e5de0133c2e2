"""knockout.json: a model without a circuit, on the circuit's own prompts, on others and on a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcircuits.documents import Keys, anything, check_keys, is_count, is_number, is_object, is_text, list_of
from kcircuits.errors import KCircuitsError
from kcircuits.report.readings.checks import LISTED, read_reading

FORMAT = "kcircuits-knockout/1"
MEASURES = ("hit_at_k", "mean_rank", "probability", "metric")
_WHAT = "file of a knockout"


def read(path: str | Path) -> dict[str, Any]:
    """Read a knockout.json; there are as many random circuits everywhere in it.

    Raises KCircuitsError if it is anything else.
    """
    return read_reading(path, _WHAT, FORMAT, _DOCUMENT, _check)


def _check(document: dict[str, Any]) -> None:
    check_keys("settings", document["settings"], _SETTINGS)
    if not document["effects"]:
        raise KCircuitsError(f"{_WHAT}: 'effects' is empty, so nothing was measured")
    counts = set()
    for index, effect in enumerate(document["effects"]):
        what = f"effects, {index}"
        check_keys(what, effect, _EFFECT)
        for run in ("full", "knockout"):
            check_keys(f"{what}, {run!r}", effect[run], _RUN)
        for place, run in enumerate(effect["random"]):
            check_keys(f"{what}, random {place}", run, _RUN)
        counts.add(len(effect["random"]))
    if document["text"] is not None:
        check_keys("text", document["text"], _TEXT)
        counts.add(len(document["text"]["random"]))
    if len(counts) > 1:
        raise KCircuitsError(f"{_WHAT}: there are as many random circuits everywhere, got {sorted(counts)}")


_NUMBER = (is_number, "a number")
_COUNT = (is_count, "a whole number from 0 on")
_OBJECT = (is_object, "an object")
_DOCUMENT: Keys = {
    "model": _OBJECT,
    "settings": _OBJECT,
    "effects": (list_of(anything, LISTED), "a list"),
    "text": (anything, "an object or null"),
}
_SETTINGS: Keys = {
    "ablation": (is_text, "a string"),
    **dict.fromkeys(("num_circuit_edges", "num_removed_edges", "hit_k"), _COUNT),
}
_EFFECT: Keys = {
    "prompts": (is_text, "a string"),
    "num_prompts": _COUNT,
    "full": _OBJECT,
    "knockout": _OBJECT,
    "random": (list_of(is_object, LISTED), "a list of objects"),
}
_RUN: Keys = dict.fromkeys(MEASURES, _NUMBER)
_PERPLEXITY = (lambda value: is_number(value) and value > 0, "a number above 0")
_TEXT: Keys = {
    "num_tokens": _COUNT,
    "full": _PERPLEXITY,
    "knockout": _PERPLEXITY,
    "random": (list_of(_PERPLEXITY[0], LISTED), "a list of numbers above 0"),
}
