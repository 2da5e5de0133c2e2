"""A worker process of a pool, which gets orders and sends events through a pipe."""

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
    """Run the orders from the pipe, one after the other, until it is closed.

    Ctrl-C reaches all processes of a terminal, but only the parent handles it. If the parent ends, this
    process ends at once, because the output folder is no longer locked.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    models, store = Models(), Store(out)
    with suppress(EOFError, OSError):  # of the pipe only: the parent has ended
        while True:
            carry_out(pipe.recv(), models, store, name, pipe.send)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
