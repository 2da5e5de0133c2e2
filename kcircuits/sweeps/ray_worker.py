"""Code that runs on the nodes of a Ray cluster: an actor that runs jobs, and a check of the node."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from socket import gethostname
from threading import Thread
from typing import Any

import torch

from kcircuits.model.loading import Model
from kcircuits.model.packing import unpack_model
from kcircuits.runtime.optional import need
from kcircuits.sweeps.expand import load_choice
from kcircuits.sweeps.grid import ModelChoice
from kcircuits.sweeps.keys import ALGORITHMS
from kcircuits.sweeps.pool import Event, Failed, Finished, Models, Order, carry_out
from kcircuits.sweeps.store import Store


class Worker:
    """Runs jobs of one model, one after the other, with `threads` threads.

    `weights` has a reference to a `Packed` model in the object store; if it is empty, the model is loaded
    from its files. The reference is in a list because Ray would resolve a bare one before it creates the
    worker.
    """

    def __init__(self, out: Path, threads: int, name: str, weights: list[Any]) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles Ctrl-C
        self._store, self._threads = Store(out), threads
        self._name = f"{name} on {gethostname()}"
        self._weights = weights
        self._models = Models(self._load)

    def process(self) -> int:
        """The number of the actor's process on its node."""
        return os.getpid()

    def do(self, order: Order) -> Iterator[Event]:
        """Run an order, and yield its events as they happen, ending with `Finished` or `Failed`.

        The job runs in a thread because its events come from callbacks.
        """
        said: SimpleQueue[Event | BaseException] = SimpleQueue()

        def run() -> None:
            torch.set_num_threads(self._threads)  # OpenMP has this number per thread
            try:
                carry_out(order, self._models, self._store, self._name, said.put)
            except BaseException as error:
                said.put(error)

        Thread(target=run, daemon=True).start()
        while True:
            event = said.get()
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, Finished | Failed):
                return

    def _load(self, choice: ModelChoice) -> Model:
        if not self._weights:
            return load_choice(choice)
        need("ray", "sweeps on a cluster")
        import ray

        return unpack_model(ray.get(self._weights[0]))


def look(token: Path) -> tuple[bool, int]:
    """Whether this node sees a folder created on another node, and the version of its algorithms."""
    return token.is_dir(), ALGORITHMS
