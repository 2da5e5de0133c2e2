"""Delay Ctrl-C and SIGTERM until finished results are written."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM; it ends the program in the same way as Ctrl-C."""


class SignalHolder:
    """Records signals instead of raising them, except inside `let_through`."""

    def __init__(self) -> None:
        self._earlier: dict[int, Any] = {}
        self._noted: list[int] = []
        self._open = False

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Let the first signal interrupt this block; further signals are recorded."""
        self._open = True
        if self._noted:  # checked after opening, so that no signal is lost in between
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
        self._open = False  # closed before raising, so that only one exception is raised
        earlier: Callable[[int, FrameType | None], object] | int = self._earlier[number]
        if callable(earlier):
            earlier(number, frame)
        else:  # the default action would end the process without cleanup: repeat the signal at the end
            self._noted.append(number)
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        self._open = True  # the program's own handler did not raise

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
    """Record Ctrl-C and SIGTERM inside this block and raise them when it has ended.

    Only the main thread receives signals; in other threads this does nothing. Ignored signals stay ignored.
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
