"""Reading files of edits in any of the formats of this package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from kcircuits.editing.records import counterfact, knowedit, known, mquake, native, ripple_edits, zsre
from kcircuits.editing.records.native import MisspeltKeyError
from kcircuits.editing.request import EditRequest, RequestError
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import prefix_errors, read_text
from kcircuits.files.json_records import Record, parse_records

FORMATS: tuple[ModuleType, ...] = (mquake, counterfact, ripple_edits, zsre, known, knowedit, native)
"""In the order in which they are tried."""

SHOWN = 5  # places to list


@dataclass(frozen=True)
class LeftOut:
    """A record, or a part of one, that was left out.

    Parameters
    ----------
    where
        "line 3", or "record 3" in a JSON list.
    reason
        A short reason for counting.
    message
        What is wrong in detail.
    whole
        Whether the whole record was left out, or only a part of it.
    """

    where: str
    reason: str
    message: str
    whole: bool


class ReadRequests(tuple[EditRequest, ...]):
    """The edits of a file, and the records that were left out."""

    left_out: tuple[LeftOut, ...]

    def __new__(cls, requests: Iterable[EditRequest], left_out: Iterable[LeftOut] = ()) -> ReadRequests:
        """Edits and the records that were left out."""
        made = super().__new__(cls, requests)
        made.left_out = tuple(left_out)
        return made

    def left_out_lines(self) -> list[str]:
        """A line for each reason why something was left out, with the first places."""
        places: dict[tuple[bool, str], list[str]] = {}
        for each in self.left_out:
            places.setdefault((each.whole, each.reason), []).append(each.where)
        lines = []
        for (whole, reason), found in places.items():
            what = f"{len(found):,} record{'s' if len(found) > 1 else ''} left out: " if whole else ""
            listed = ", ".join(dict.fromkeys(found[:SHOWN]))
            more = ", …" if len(found) > SHOWN else ""
            count = f" ({len(found):,} times)" if not whole and len(found) > 1 else ""
            lines.append(f"{what}{reason}{count}: {listed}{more}")
        return lines


def read_requests(path: str | Path) -> ReadRequests:
    """Read edits from JSON lines, or from one JSON list.

    Each record is `{"subject", "prompt", "target", "target_true"?, "paraphrases"?: [text], "neighbours"?,
    "portability"?}`, where the last two are lists of `{"prompt", "answer"}` and "{}" in the prompt stands for
    the subject; or a record of CounterFact, MQuAKE, zsRE, KnowEdit or RippleEdits.

    Returns
    -------
    ReadRequests
        A tuple of the edits. `left_out` lists the records, or parts of them, that were left out, and why.

    Raises
    ------
    KCircuitsError
        If the file cannot be read, has no edit, has no usable record, or has a misspelt key. The message
        names the record.
    """
    with prefix_errors(path):
        records = parse_records(read_text(path, "file of edits", pipe=True), "file of edits")
    if not records:
        raise KCircuitsError(f"{path} has no edits")
    requests: list[EditRequest] = []
    left_out: list[LeftOut] = []
    for record in records:
        notes: list[str] = []
        try:
            requests += _read(record, notes)
        except MisspeltKeyError as error:
            raise KCircuitsError(f"{path}, {record.where}: {error}") from error
        except RequestError as error:
            left_out.append(LeftOut(record.where, error.reason, str(error), True))
        else:
            left_out += [LeftOut(record.where, note, note, False) for note in notes]
    if not requests:
        first = left_out[0]
        others = f"; none of the {len(records):,} records can be used" if len(records) > 1 else ""
        raise KCircuitsError(f"{path}, {first.where}: {first.message}{others}")
    return ReadRequests(requests, left_out)


def _read(record: Record, notes: list[str]) -> list[EditRequest]:
    if record.fault is not None:
        raise RequestError(record.fault, "not JSON")
    if not isinstance(record.value, dict):
        raise RequestError(f"an edit must be a JSON object, got {record.value!r:.80}", "not a JSON object")
    value: dict[str, Any] = record.value
    for each in FORMATS:
        if each.recognises(value):
            edits: list[EditRequest] = each.read(value, notes)
            return edits
    keys = ", ".join(map(repr, list(value)[:8])) or "none"
    raise RequestError(f"a record of an unknown format; its keys are {keys}", "a record of an unknown format")
