"""edits.json: edits and their measures."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from kcircuits.documents import Keys, anything, check_keys, is_number, is_object, is_text, list_of, or_none
from kcircuits.editing.measures import EditMeasures
from kcircuits.errors import KCircuitsError
from kcircuits.report.readings.checks import LISTED, numbers, read_reading

FORMAT = "kcircuits-edits/1"
MEASURES = tuple(field.name for field in fields(EditMeasures))
_WHAT = "file of edits"


def read(path: str | Path) -> dict[str, Any]:
    """Read an edits.json; every edit has measures or says why it failed.

    Raises KCircuitsError if it is anything else.
    """
    return read_reading(path, _WHAT, FORMAT, _DOCUMENT, _check)


def _check(document: dict[str, Any]) -> None:
    check_keys("settings", document["settings"], {"method": _TEXT})
    check_keys("means", document["means"], dict.fromkeys((*MEASURES, "score"), _NUMBER_OR_NONE))
    if document.get("means_before") is not None:
        check_keys("means_before", document["means_before"], dict.fromkeys(MEASURES, _NUMBER_OR_NONE))
    for index, edit in enumerate(document["edits"]):
        check_keys(f"edit {index}", edit, _EDIT)
        if (edit["measures"] is None) == (edit["failed"] is None):
            raise KCircuitsError(f"edit {index} must have either 'measures' or the reason why it 'failed'")
        if edit["measures"] is not None:
            wanted = dict.fromkeys(MEASURES, _NUMBER_OR_NONE)
            check_keys(f"edit {index}, 'measures'", edit["measures"], wanted)


_TEXT = (is_text, "a string")
_TEXT_OR_NONE = (or_none(is_text), "a string or null")
_OBJECT = (is_object, "an object")
_NUMBER_OR_NONE = (or_none(is_number), "a number or null")
_DOCUMENT: Keys = {
    "model": _OBJECT,
    "settings": _OBJECT,
    "means": _OBJECT,
    "perplexity": (or_none(numbers(2)), "two numbers, before and after, or null"),
    "edits": (list_of(anything, LISTED), "a list"),
}
_EDIT: Keys = {
    **dict.fromkeys(("subject", "prompt", "target"), _TEXT),
    "target_true": _TEXT_OR_NONE,
    "failed": _TEXT_OR_NONE,
    "measures": (or_none(is_object), "an object or null"),
}
