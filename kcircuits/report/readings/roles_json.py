"""roles.json: movers, relation and mixture heads, the MLPs that raise the answer, what ablating them does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kcircuits.documents import Keys, anything, check_keys, is_number, is_object, is_text, list_of, or_none
from kcircuits.report.readings.checks import LISTED, numbers, read_reading

FORMAT = "kcircuits-roles/1"
ROLES = ("mover", "relation", "mixture")
_WHAT = "file of roles"


def read(path: str | Path) -> dict[str, Any]:
    """Read a roles.json; raises KCircuitsError if it is anything else."""
    return read_reading(path, _WHAT, FORMAT, _DOCUMENT, _check)


def _check(document: dict[str, Any]) -> None:
    for key, keys in (("heads", _HEAD), ("mlps", _MLP), ("ablations", _ABLATION)):
        for index, each in enumerate(document[key]):
            check_keys(f"{key}, {index}", each, keys)


_NUMBER = (is_number, "a number")
_NUMBER_OR_NONE = (or_none(is_number), "a number or null")
_TEXT = (is_text, "a string")
_ROLE = (lambda value: value in ROLES, f"one of {', '.join(ROLES)}")
_LIST = (list_of(anything, LISTED), "a list")
_DOCUMENT: Keys = {
    "model": (is_object, "an object"),
    "settings": (is_object, "an object"),
    "heads": _LIST,
    "mlps": _LIST,
    "ablations": _LIST,
}
_HEAD: Keys = {
    "node": _TEXT,
    "role": _ROLE,
    **dict.fromkeys(("ratio", "low", "high"), _NUMBER_OR_NONE),
    "subject_write": _NUMBER,
    "relation_write": _NUMBER,
}
_MLP: Keys = {"node": _TEXT, "logit": _NUMBER, "low": _NUMBER_OR_NONE, "high": _NUMBER_OR_NONE}
_ABLATION: Keys = {
    "role": _TEXT,
    "heads": (list_of(is_text, LISTED), "a list of heads"),
    "metric": _NUMBER,
    "hit": _NUMBER,
    "random_metric": (or_none(numbers(3)), "three numbers (low, mean, high) or null"),
}
