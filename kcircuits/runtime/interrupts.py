"""Ctrl-C and SIGTERM: where they may end the work, and where what is finished is written first."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends the work as Ctrl-C does."""


class SignalHolder:
    """Signals are noted, but for the places where they are let through."""

    def __init__(self) -> None:
        self._earlier: dict[int, Any] = {}
        self._noted: list[int] = []
        self._open = False

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Let the first signal end what is inside; later ones, and those that come behind it, are noted."""
        self._open = True
        if self._noted:  # after, so that none falls between
            self._open = False
            raise KeyboardInterrupt
        try:
            yield
        finally:
            self._open = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._open:
            self._noted.append(number)
            return
        self._open = False  # before anything is raised, so that nothing is raised twice
        earlier: Callable[[int, FrameType | None], object] | int = self._earlier[number]
        if callable(earlier):
            earlier(number, frame)
        else:  # the system's own way, which knows no cleaning up: the signal comes again at the end
            self._noted.append(number)
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self._open = True  # the program's handler has raised nothing

    def _install(self) -> None:
        for number in SIGNALS:
            earlier = signal.getsignal(number)
            if earlier not in (signal.SIG_IGN, None):
                self._earlier[number] = earlier
                signal.signal(number, self._handle)

    def _restore(self) -> None:
        for number, earlier in self._earlier.items():
            signal.signal(number, earlier)


@contextmanager
def hold_signals() -> Iterator[SignalHolder]:
    """Note Ctrl-C and SIGTERM inside; what was noted comes at the end, when all of it is done.

    Only the main thread gets signals: in another one, this does nothing. Ignored signals stay ignored.
    """
    held = SignalHolder()
    try:
        held._install()
    except ValueError:  # not the main thread
        yield held
        return
    try:
        yield held
    finally:
        held._restore()
        if held._noted:
            signal.raise_signal(held._noted[0])
