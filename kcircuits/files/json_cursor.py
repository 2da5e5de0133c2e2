"""Walk through a JSON text value by value, so that a long list never exists as a whole in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from json import JSONDecodeError
from typing import NoReturn

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import build_object, finite_float, json_error, quote, refuse_number

_SPACE = re.compile(r"[ \t\n\r]*")


class JsonCursor:
    """A position in a JSON text, which advances as values are read.

    Parameters
    ----------
    text
        JSON. It may be incomplete after the last value that is read.
    what
        Description of the document, for errors.
    nan
        Accept `NaN`, which Python writes although JSON does not allow it.

    Every method raises KCircuitsError if the text is not JSON, has a number beyond the range of float, or an
    object with a duplicate key.

    Examples
    --------
    >>> cursor = JsonCursor('{"edges": [[1, 2], [3, 4]], "name": "a"}', "document")
    >>> for key in cursor.members():
    ...     print(key, [sum(pair) for pair in cursor.elements()] if key == "edges" else cursor.value())
    edges [3, 7]
    name a
    """

    def __init__(self, text: str, what: str, *, nan: bool = False) -> None:
        decoder = json.JSONDecoder(
            object_pairs_hook=build_object,
            parse_float=finite_float,
            parse_constant=_nan if nan else refuse_number,
        )
        self._text, self._what, self._at = text, what, 0
        self._scan = decoder.scan_once  # type: ignore[attr-defined]  # raw_decode, but for what it raises

    def next_character(self) -> str:
        """Skip white space and return the next character; empty at the end."""
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return self._text[self._at : self._at + 1]

    def value(self) -> object:
        """Read the next value as a whole."""
        self.next_character()
        try:
            value, self._at = self._scan(self._text, self._at)
        except StopIteration:
            self._fail("Expecting a value")
        except (ValueError, RecursionError) as error:
            raise json_error(error, self._what) from error
        found: object = value
        return found

    def members(self, *, unique: bool = True) -> Iterator[str]:
        """Yield the keys of the next object; read the value of each key before you ask for the next one.

        `unique`: refuse a key that occurs twice. A caller that can detect duplicates with less memory than a
        set of all keys turns this off.
        """
        seen: set[str] = set()
        for _ in self._items("{", "}"):
            if self.next_character() != '"':
                self._fail("Expecting a key in double quotes")
            key = self.value()
            assert isinstance(key, str)
            if unique:
                if key in seen:
                    raise KCircuitsError(f"the key {quote(key)} occurs twice: keep one")
                seen.add(key)
            self._take(":")
            yield key

    def elements(self) -> Iterator[object]:
        """Yield the values of the next list."""
        for _ in self._items("[", "]"):
            yield self.value()

    def skip(self) -> None:
        """Skip the next value; of a list or an object, only one value at a time is in memory."""
        character = self.next_character()
        if character == "[":
            for _ in self.elements():
                pass
        elif character == "{":
            for _ in self.members(unique=False):
                self.value()
        else:
            self.value()

    def at_end(self) -> bool:
        """Whether the text has no further value."""
        return not self.next_character()

    def end(self) -> None:
        """Check that the text has no further value."""
        if not self.at_end():
            self._fail("Extra data")

    def mark(self) -> int:
        """The current position, for `go_to`."""
        return self._at

    def go_to(self, mark: int) -> None:
        """Return to a position that `mark` gave."""
        self._at = mark

    def _items(self, opening: str, closing: str) -> Iterator[None]:
        self._take(opening)
        if self.next_character() == closing:
            self._at += 1
            return
        while True:
            yield
            if self.next_character() == closing:
                self._at += 1
                return
            self._take(",")

    def _take(self, character: str) -> None:
        if self.next_character() != character:
            self._fail(f"Expecting {character!r}")
        self._at += 1

    def _fail(self, message: str) -> NoReturn:
        raise json_error(JSONDecodeError(message, self._text, self._at), self._what)


def _nan(text: str) -> float:
    return float("nan") if text == "NaN" else refuse_number(text)
