"""A process that does jobs for a pool: what it is told comes through a pipe, and so does what it says."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path

from kcircuits.sweeps.pool import Models, carry_out
from kcircuits.sweeps.store import Store


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
    with suppress(EOFError, OSError):  # of the pipe alone: the parent is gone, and nobody is to be told
        while True:
            carry_out(pipe.recv(), models, store, name, pipe.send)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
