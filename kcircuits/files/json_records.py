"""Records in a file: JSON lines, one JSON list, or JSON objects over several lines each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import parse_json, quote


@dataclass(frozen=True)
class Record:
    """One record.

    Parameters
    ----------
    where
        "line 3", or "record 3" in a JSON list.
    value
        Its content; None if it cannot be parsed.
    fault
        Why it cannot be parsed, or None.
    """

    where: str
    value: Any
    fault: str | None = None

    def require_object(self) -> dict[str, Any]:
        """The value as a JSON object; raises KCircuitsError if it is something else."""
        if self.fault is not None:
            raise KCircuitsError(self.fault)
        if not isinstance(self.value, dict):
            raise KCircuitsError(f"expected a JSON object {{...}}, got {quote(self.value)}")
        return self.value


def parse_records(text: str, what: str) -> list[Record]:
    r"""Find the records in a text. Blank lines are skipped, but they count for line numbers.

    Only "\n" ends a line: "\u2028", "\x85" and their like may stand inside JSON strings.

    Parameters
    ----------
    text
        Content of a file.
    what
        Description of the file, for errors.

    Raises
    ------
    KCircuitsError
        If the text is a JSON list, or objects that span several lines, and cannot be parsed. An invalid
        line among JSON lines gives a record with a `fault` instead.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return []
    by_lines = _is_json(lines[0])
    if text.lstrip().startswith("[") and not (by_lines and len(lines) > 1):
        values = parse_json(text, what)
        assert isinstance(values, list)
        return [Record(f"record {number}", value) for number, value in enumerate(values, start=1)]
    if not by_lines and len(lines) > 1:
        try:
            return _objects(text, what)
        except KCircuitsError:
            # An invalid first line; lines inside an object are indented.
            if not any(line.startswith("{") and _is_json(line) for line in lines[1:]):
                raise
    numbered = enumerate(text.split("\n"), start=1)
    return [_parse_line(f"line {number}", line, what) for number, line in numbered if line.strip()]


def _parse_line(where: str, line: str, what: str) -> Record:
    try:
        return Record(where, parse_json(line, what))
    except KCircuitsError as error:
        return Record(where, None, str(error))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _objects(text: str, what: str) -> list[Record]:
    """Parse consecutive values, each of which may span several lines."""
    found, start = [], 0
    decoder = json.JSONDecoder()
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        where = f"line {text.count(chr(10), 0, start) + 1}"
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            # Leading blank lines make the error's line numbers those of the file.
            parse_json("\n" * text.count("\n", 0, start) + text[start:], what)
            raise
        found.append(_parse_line(where, text[start:end], what))
        start = end
    return found
