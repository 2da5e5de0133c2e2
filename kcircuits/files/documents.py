"""Strict reading of JSON and text that people or other programs wrote; `what` names the file in errors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from kcircuits.errors import KCircuitsError
from kcircuits.files.kinds import HEAD_BYTES, foreign_kind


def read_text(path: str | Path, what: str, most_bytes: int | None = None, *, pipe: bool = False) -> str:
    """Read a text file, UTF-8 with or without a byte order mark; "\\r\\n" is read as "\\n".

    Parameters
    ----------
    path
        "~" means the home folder.
    what
        Description of the file, for errors.
    pipe
        Whether it may be a pipe, such as a shell's `<(command)`.
    most_bytes
        A larger file is refused before any of it is read.

    Raises
    ------
    KCircuitsError
        If it is not a regular file, cannot be read, has more than `most_bytes`, or is not UTF-8; the message
        names common formats that are mistaken for text.
    """
    try:
        path = Path(path).expanduser()
        if not pipe:
            check_regular(path, what)
            if most_bytes is not None and (size := path.stat().st_size) > most_bytes:
                limit = f"{size / 2**20:,.0f} MiB, at most {most_bytes / 2**20:,.0f} MiB"
                raise KCircuitsError(f"too large for a {what}: {limit}")
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
            kind = foreign_kind(head)
            if kind is not None:
                raise KCircuitsError(f"not a {what}: the file is {kind}")
            content = head + stream.read()
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except KCircuitsError:
        raise
    except UnicodeDecodeError as error:
        raise KCircuitsError(
            f"not a {what}: the file is not UTF-8 text ({error.reason} at byte {error.start:,})"
        ) from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the home folder does not exist
        raise KCircuitsError(_unreadable(what, error)) from error


def read_head(path: str | Path, what: str, size: int) -> bytes:
    """Read the first `size` bytes; raises KCircuitsError if it is not a regular file or cannot be read."""
    path = check_regular(path, what)
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except (OSError, ValueError) as error:
        raise KCircuitsError(_unreadable(what, error)) from error


def _unreadable(what: str, error: Exception) -> str:
    return f"cannot read the {what}: {getattr(error, 'strerror', None) or error}"


def read_document(path: str | Path, what: str, check: Callable[[object], dict[str, Any]]) -> dict[str, Any]:
    """Read a JSON file; returns what `check` returns for its content.

    Raises KCircuitsError if the file cannot be read, is not JSON, or `check` refuses it; the message starts
    with the path.
    """
    with prefix_errors(path):
        return check(parse_json(read_text(path, what), what))


@contextmanager
def prefix_errors(where: object) -> Iterator[None]:
    """Prefix the errors of a block with a path or another location."""
    try:
        yield
    except KCircuitsError as error:
        raise KCircuitsError(f"{where}: {error}") from error


def check_regular(path: str | Path, what: str) -> Path:
    """Refuse folders, devices and pipes, which may never end. A missing file is the reader's error.

    Returns the path; raises KCircuitsError.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise KCircuitsError(f"not a file; give the path of a {what}")
    except OSError as error:
        raise KCircuitsError(f"cannot read the {what}: {error.strerror or error}") from error
    return path


def parse_json(text: str, what: str) -> object:
    """Parse JSON; every number must be finite and no object may have duplicate keys.

    Raises
    ------
    KCircuitsError
        If the text is not JSON, is nested too deeply, or has a number beyond float or a duplicate key.
    """
    try:
        return json.loads(
            text, parse_float=finite_float, parse_constant=refuse_number, object_pairs_hook=build_object
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}" if "\n" in text else f"column {error.colno}"
        hint = " (remove the comma after the last item)"
        comma = text[: error.pos].rstrip().endswith(",")
        closed = text[error.pos : error.pos + 1] in ("]", "}")
        raise KCircuitsError(f"not JSON: {error.msg}: {where}{hint if comma and closed else ''}") from error
    except (ValueError, RecursionError) as error:
        raise json_error(error, what) from error


def json_error(error: Exception, what: str) -> KCircuitsError:
    """The error for an exception of the JSON parser; `what` describes the expected text."""
    if isinstance(error, KCircuitsError):
        return error
    if isinstance(error, json.JSONDecodeError):
        return KCircuitsError(f"not JSON: {error}")
    if isinstance(error, RecursionError):
        return KCircuitsError(f"not a {what}: the JSON is nested too deeply")
    return KCircuitsError(f"not a {what}: {error}")  # an integer with thousands of digits


def dump_json(value: object, key: str, what: str) -> str:
    """Write a value as one line of JSON; `key` names it in the error if it cannot be written."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise KCircuitsError(f"the {what}'s {key!r} cannot be written as JSON: {error}") from error


def check_format(value: object, expected: str, what: str) -> None:
    """Check that a document's format, such as "kcircuits/1", is the supported one.

    Raises
    ------
    KCircuitsError
        If it is another one; the message says so if it is a later version.
    """
    if value == expected:
        return
    family = re.escape(expected.partition("/")[0])
    if isinstance(value, str) and re.fullmatch(rf"{family}/[1-9]\d{{0,8}}", value):
        raise KCircuitsError(
            f"written in the format {value!r} by a newer kcircuits, and this one reads {expected!r}: "
            "update kcircuits"
        )
    raise KCircuitsError(f'not a {what}: "format" must be {expected!r}, got {quote(value)}')


def quote(value: object) -> str:
    """`repr` on one line, cut to 80 characters, for error messages."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 80 else f"{text[:77]}..."


Check = Callable[[object], bool]
Keys = dict[str, tuple[Check, str]]
"""For every key of an object: a check of its value, and a description of valid values."""


def check_keys(what: str, value: object, keys: Keys) -> dict[str, Any]:
    """Check that a value is an object with these keys and valid values; other keys are allowed.

    Raises KCircuitsError if not; `what` names the object.

    Examples
    --------
    >>> check_keys("point", {"size": 3, "note": None}, {"size": (is_count, "a whole number from 0 on")})
    {'size': 3, 'note': None}
    """
    if not isinstance(value, dict):
        raise KCircuitsError(f"{what} must be an object, got {quote(value)}")
    for key, (good, expected) in keys.items():
        if key not in value:
            raise KCircuitsError(f"{what}: the key {key!r} is missing")
        if not good(value[key]):
            raise KCircuitsError(f"{what}: {key!r} must be {expected}, got {quote(value[key])}")
    return value


def or_none(good: Check) -> Check:
    """A check that also accepts None."""
    return lambda value: value is None or good(value)


def list_of(good: Check, most: int) -> Check:
    """A check for lists of valid values, with a maximum length."""
    return lambda value: isinstance(value, list) and len(value) <= most and all(map(good, value))


def anything(value: object) -> bool:
    """Accept every value, for keys that a later check covers."""
    return True


def is_object(value: object) -> bool:
    """True for a JSON object."""
    return isinstance(value, dict)


def is_text(value: object) -> bool:
    """True for a string."""
    return isinstance(value, str)


def is_count(value: object) -> bool:
    """True for a whole number, 0 or more; a bool is not a number."""
    return type(value) is int and value >= 0


def is_number(value: object) -> bool:
    """True for a finite float and for an int within the range of float; a bool is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def finite_float(text: str) -> float:
    """Convert JSON's text of a number; raises KCircuitsError if it is beyond the range of float."""
    value = float(text)
    return value if math.isfinite(value) else refuse_number(text)


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object from its members, for `object_pairs_hook`.

    Raises KCircuitsError for a duplicate key, because JSON readers disagree about which value counts.

    Examples
    --------
    >>> build_object([("src", "m0"), ("dst", "m1")])
    {'src': 'm0', 'dst': 'm1'}
    """
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise KCircuitsError(f"the key {quote(key)} occurs twice in one JSON object: keep one")
            seen.add(key)
    return members


def refuse_number(text: str) -> NoReturn:
    """Raise KCircuitsError for a number that is not finite."""
    raise KCircuitsError(f"every number must be finite, got {quote(text)}")
