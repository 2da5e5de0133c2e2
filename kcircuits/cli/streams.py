"""Standard streams that are closed or full: the work is done all the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, TextIO

from kcircuits.errors import KCircuitsError


def open_standard_streams() -> None:
    """Give closed streams the null device, and make the others fail in ways that can be told.

    A closed descriptor would be given to the next file that is opened, which would then get the messages.
    What cannot be written to stderr is lost; of stdout, the caller hears it as a KCircuitsError.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    sys.stdout = _Output(sys.stdout)
    sys.stderr = _Messages(sys.stderr)


class _Stream:
    """Passes everything on to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Any:
        return iter(self._stream)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        raise NotImplementedError


class _Messages(_Stream):
    def _failed(self, error: OSError) -> None:
        pass


class _Output(_Stream):
    def _failed(self, error: OSError) -> None:
        # It is said once: what comes later goes nowhere.
        self._stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        raise KCircuitsError(f"cannot write to standard output: {error.strerror or error}") from error
