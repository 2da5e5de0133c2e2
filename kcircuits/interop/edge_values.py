"""Lists of edges in JSON or as Python prints them, and ACDC's subgraph as saved by `torch.save`.

An entry is a string as in a text file, `[sender, receiver]`, `[sender, receiver, score]`, an object with keys
such as `src`, `dst` and `score`, or ACDC's four: `[receiver, index, sender, index]`, with a score after them
or around them, as in `[[receiver, index, sender, index], score]`. An index is `[null, null, 2]`; Python
writes `[:, :, 2]`, `[COL, COL, 2]` or `(None, None, 2)`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import is_number, parse_json, quote
from kcircuits.interop.edge_entries import WHAT, Entry, find_columns, is_present
from kcircuits.interop.edge_lines import entry_of_text, lines_of, score_of
from kcircuits.interop.edge_names import add_kind, is_inside_a_node, is_name, is_receiver, is_sender, tidy

_COLONS = (None, ":", "COL", "COLON")
_SCORE_BEHIND = re.compile(
    r"(?P<value>.*[\])}])\s*[,:]?\s*(?P<score>[-+\w.]+|(?:tensor|np\.float\d+)\([^()]*\))\s*", re.DOTALL
)
# Python syntax that is not JSON: strings stay (first alternative), all else is translated.
_PYTHON = re.compile(
    r"""(?P<text>"(?:[^"\\\n]|\\.)*")|'(?P<quoted>(?:[^'\\\n]|\\.)*)'"""
    r"""|(?:tensor|np\.float\d+)\((?P<number>[^,()]+)(?:,[^()]*)?\)|(?P<slice>slice\(None,\s*None,\s*None\))"""
    r"""|(?P<colon>(?<=[\[(,\s]):(?=\s*[,\])]))|(?P<word>\b(?:COL|COLON|None|True|False)\b)"""
    r"""|(?P<bracket>[()])|(?P<comma>,)(?=\s*[\])])"""
)


def entries_of(text: str) -> Iterator[Entry | None]:
    """The entries of a text that begins with a bracket: one list, or one entry per line.

    Yields None for an absent edge. Raises KCircuitsError if the text has neither form.
    """
    try:
        document = parse_value(text)
    except KCircuitsError:
        numbered = list(lines_of(text)) if len(text) < 2**28 else []
        if len(numbered) < 2 or not _is_whole(numbered[0][1]):
            raise
        for number, line in numbered:
            yield entry_of_line(number, line)
        return
    if isinstance(document, dict) and _columns(document) is None:
        raise KCircuitsError(f"not a {WHAT}: expected a JSON list, got {quote(document)}")
    listed = document if isinstance(document, list) and not _is_one_edge(document) else [document]
    for index, value in enumerate(listed):
        yield entry_of_value("entry", index, value)


def entry_of_line(number: int, line: str) -> Entry | None:
    """The entry on a line that begins with a bracket, optionally followed by a score."""
    try:
        return entry_of_value("line", number, parse_value(line))
    except KCircuitsError:
        match = _SCORE_BEHIND.fullmatch(line)
        if match is None:
            raise
        score = score_of(f"line {number}", _PYTHON.sub(_translate_word, match["score"]))
        return entry_of_value("line", number, [parse_value(match["value"]), score])


def parse_value(text: str) -> object:
    """Parse a value in JSON or as Python prints it; raises KCircuitsError if it is neither."""
    try:
        return parse_json(text, WHAT)
    except KCircuitsError as error:
        translated = _PYTHON.sub(_translate_word, text)
        if translated == text:
            raise
        try:
            return parse_json(translated, WHAT)
        except KCircuitsError:
            raise error from None


def entry_of_value(unit: str, number: int, value: object) -> Entry | None:
    """The edge in an entry; None if the entry marks it as absent.

    Raises KCircuitsError if it is not an entry.
    """
    if isinstance(value, str):
        return entry_of_text(unit, number, value)
    if isinstance(value, dict):
        return _entry_of_object(unit, number, value)
    if isinstance(value, list | tuple):
        ends, score = _ends_and_score(value)
        if ends is not None and (score is None or is_number(score)):
            sender, receiver = ends
            return Entry(unit, number, tidy(sender), tidy(receiver), None if score is None else float(score))
    raise KCircuitsError(
        f"{unit} {number:d} must be [sender, receiver], [sender, receiver, score] or a string, "
        f"got {quote(value)}"
    )


def entries_of_subgraph(subgraph: dict[Any, Any]) -> Iterator[Entry | None]:
    """The present edges of ACDC's subgraph, `{(receiver, index, sender, index): present}`."""
    for number, (key, present) in enumerate(subgraph.items()):
        if not isinstance(present, bool):
            raise KCircuitsError(f"entry {number} must be true or false, got {quote(present)}")
        if present:
            yield entry_of_value("entry", number, key)


def is_subgraph(document: object) -> bool:
    """Whether the content of a `torch.save` file has the form of ACDC's subgraph."""
    return isinstance(document, dict) and bool(document) and all(isinstance(key, tuple) for key in document)


def is_entry(value: object) -> bool:
    """Whether a JSON object has the keys of an entry."""
    return isinstance(value, dict) and _columns(value) is not None


def _columns(value: dict[str, Any]) -> Any:
    return find_columns(list(map(str, value)))


def _entry_of_object(unit: str, number: int, value: dict[str, Any]) -> Entry | None:
    where = f"{unit} {number:d}"
    try:
        columns = _columns(value)
        if columns is None:
            raise KCircuitsError(f"an edge needs keys such as src, dst and score, got {quote(value)}")
        cells = list(value.values())
        found = {role: cells[place] for role, place in columns.places.items()}
        if not is_present(found.get("present", True)):
            return None
    except KCircuitsError as error:
        raise KCircuitsError(f"{where}: {error}") from error
    ends = [found[role] for role in ("edge",) if role in found] or [found["sender"], found["receiver"]]
    score = found.get("score")
    if not all(isinstance(end, str) for end in ends) or not (score is None or is_number(score)):
        raise KCircuitsError(f"{where} must name its ends and have a number as score, got {quote(value)}")
    if len(ends) == 1:
        entry = entry_of_text(unit, number, ends[0])
        return Entry(
            unit, number, entry.sender, entry.receiver, score if entry.score is None else entry.score
        )
    ends[1] = add_kind(ends[1], found.get("kind"))
    return Entry(
        unit, number, tidy(ends[0]), tidy(ends[1]), None if score is None else float(score), columns.own
    )


def _ends_and_score(value: list[Any] | tuple[Any, ...]) -> tuple[tuple[str, str] | None, Any]:
    """Sender, receiver and score of a list; the ends are None if it is not an edge."""
    if (
        len(value) == 2
        and isinstance(value[0], list | tuple)
        and not isinstance(value[1], list | tuple | str)
    ):
        ends, inner = _ends_and_score(value[0])
        return (ends if inner is None and value[1] is not None else None), value[1]
    if len(value) in (2, 3) and all(isinstance(name, str) for name in value[:2]):
        if len(value) == 3 and value[2] is None:
            return None, None
        return (value[0], value[1]), value[2] if len(value) == 3 else None
    if len(value) in (4, 5):
        first, second = _add_index(*value[:2]), _add_index(*value[2:4])
        if first is not None and second is not None and not (len(value) == 5 and value[4] is None):
            return _in_order(first, second), value[4] if len(value) == 5 else None
    return None, None


def _add_index(name: object, index: object) -> str | None:
    """A hook's name with its index, as text: `blocks.1.attn.hook_result[:, :, 2]`."""
    if not isinstance(name, str):
        return None
    if isinstance(index, str):
        return tidy(f"{name}{index}") if index.startswith("[") else None
    if not isinstance(index, list | tuple):
        return None
    if not all(each in _COLONS or type(each) is int for each in index):
        return None
    return f"{name}[{', '.join(':' if each in _COLONS else str(each) for each in index)}]"


def _in_order(receiver: str, sender: str) -> tuple[str, str]:
    """Sender and receiver in this order; ACDC has the receiver first, and the names tell which is which."""
    if is_inside_a_node(sender, receiver):
        return sender, receiver
    turned = is_sender(receiver) and is_receiver(sender)
    return (receiver, sender) if turned or is_inside_a_node(receiver, sender) else (sender, receiver)


def _is_one_edge(value: list[Any]) -> bool:
    """Whether a list is a single entry rather than a list of entries."""
    ends, _ = _ends_and_score(value)
    return ends is not None and all(is_name(tidy(end)) for end in ends)


def _is_whole(line: str) -> bool:
    """Whether a line that begins with a bracket is a complete value, optionally followed by a score."""
    match = _SCORE_BEHIND.fullmatch(line)
    for text in (line, match["value"] if match else line):
        try:
            parse_value(text)
        except KCircuitsError:
            continue
        return True
    return False


def _translate_word(match: re.Match[str]) -> str:
    if match["text"] is not None:
        return match["text"]
    if match["quoted"] is not None:
        return json.dumps(match["quoted"].replace("\\'", "'"))
    if match["number"] is not None:
        try:
            return json.dumps(float(match["number"]))
        except ValueError:
            return match["number"]
    if match["bracket"] is not None:
        return "[" if match["bracket"] == "(" else "]"
    if match["comma"] is not None:
        return ""
    return {"True": "true", "False": "false"}.get(match["word"] or "", "null")
