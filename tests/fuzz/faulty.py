"""Readers that break a promise each: what the fuzzer has to find."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from kcircuits.errors import KCircuitsError
from tests.fuzz.mutations import words
from tests.fuzz.targets import Target

GOOD = b"good file"


def targets() -> Iterator[Target]:
    """One for each promise."""
    for read in (raises, chats, swells, writes, ends):
        yield Target(read.__name__, "file", GOOD, (words,), read)


def raises(path: Path) -> None:
    if path.read_bytes() != GOOD:
        raise ValueError("not ours")


def chats(path: Path) -> None:
    if path.read_bytes() != GOOD:
        raise KCircuitsError("one\ntwo")


def swells(path: Path) -> None:
    if path.read_bytes() != GOOD:
        bytearray(2**32)


def writes(path: Path) -> None:
    if path.read_bytes() != GOOD:
        (path.parent.parent / "elsewhere").touch()


def ends(path: Path) -> None:
    if path.read_bytes() != GOOD:
        os.abort()
