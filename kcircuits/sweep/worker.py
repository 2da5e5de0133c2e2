"""A process that does jobs for a pool: what it is told comes through a pipe, and so does what it says."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic

from kcircuits.sweep.pool import Event, Models, Moved, carry_out
from kcircuits.sweep.store import Store

SECONDS_BETWEEN_MOVES = 0.5


def work(pipe: Connection, out: Path, threads: int, name: str) -> None:
    """Do the orders that come through the pipe, one after the other, until it is closed.

    Ctrl-C reaches all processes of a terminal: it is the parent's to decide what it means. If the parent is
    gone, however it went, so is this process, at once: nobody holds the output folder any more.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    models, store = Models(), Store(out)
    listener = _Sender(pipe)
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            return
        carry_out(order, models, store, name, listener)


class _Sender:
    """Sends events, of a search's progress only some."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._next = pipe, 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Moved):
            now = monotonic()
            if now < self._next:
                return
            self._next = now + SECONDS_BETWEEN_MOVES
        self._pipe.send(event)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
