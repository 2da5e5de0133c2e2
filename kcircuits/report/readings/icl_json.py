"""icl.json: the heads that examples add to a circuit, where they attend, and accuracy without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcircuits.data.few_shot import PARTS
from kcircuits.documents import Keys, anything, check_keys, is_count, is_number, is_object, is_text, list_of
from kcircuits.report.readings.checks import LISTED, numbers, read_reading

FORMAT = "kcircuits-icl/1"
ASKED = ("zero-shot", "few-shot")
_WHAT = "file of what examples change"


def read(path: str | Path) -> dict[str, Any]:
    """Read an icl.json; raises KCircuitsError if it is anything else."""
    return read_reading(path, _WHAT, FORMAT, _DOCUMENT, _check)


def _check(document: dict[str, Any]) -> None:
    check_keys("settings", document["settings"], _SETTINGS)
    for asked in ASKED:
        check_keys(f"circuit {asked!r}", document["circuits"].get(asked), _CIRCUIT)
        check_keys(f"run {asked!r}", document["runs"].get(asked), _RUN)
        check_keys("ablations", document["ablations"], {asked: (anything, "an object or null")})
        if document["ablations"][asked] is not None or document["added"]:
            check_keys(f"ablation {asked!r}", document["ablations"][asked], _RUN | _RANDOM)
    for index, head in enumerate(document["added"]):
        check_keys(f"added, {index}", head, _HEAD)
        check_keys(f"added, {index}, 'attention'", head["attention"], dict.fromkeys(PARTS, _NUMBER))


_NUMBER = (is_number, "a number")
_COUNT = (is_count, "a whole number from 0 on")
_OBJECT = (is_object, "an object")
_DOCUMENT: Keys = {
    "model": _OBJECT,
    "settings": _OBJECT,
    "circuits": _OBJECT,
    "runs": _OBJECT,
    "added": (list_of(anything, LISTED), "a list"),
    "ablations": _OBJECT,
}
_SETTINGS: Keys = {"num_prompts": _COUNT, "ablation": (is_text, "a string")}
_CIRCUIT: Keys = {"edges": _COUNT, "nodes": (list_of(is_text, LISTED), "a list of nodes")}
_RUN: Keys = dict.fromkeys(("metric", "hit", "accuracy"), _NUMBER)
_RANDOM: Keys = {
    f"random_{name}": (numbers(3), "three numbers (low, mean, high)")
    for name in ("metric", "hit", "accuracy")
}
_HEAD: Keys = {"node": (is_text, "a string"), "strength": _NUMBER, "attention": _OBJECT}
