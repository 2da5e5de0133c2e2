"""A connection to a Ray cluster, or a local cluster that lasts as long as the connection."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from kcircuits.errors import KCircuitsError
from kcircuits.model.huggingface import first_line
from kcircuits.runtime.optional import need

LOCAL = "local"
_SECONDS_TO_CONNECT = 5.0


@contextmanager
def connect(address: str, cpus: int) -> Iterator[ModuleType]:
    """The module `ray`, connected to a cluster until the context ends.

    Parameters
    ----------
    address
        "local" starts a cluster on this machine with `cpus` CPUs, which ends with the context. HOST:PORT is
        the head of a running cluster, "auto" the cluster that this machine belongs to. An existing connection
        of this process to the same cluster is used and kept.

    Raises
    ------
    KCircuitsError
        If Ray is not installed, the address is invalid or not reachable, or a cluster cannot be started.
    """
    ray = _ray()
    if ray.is_initialized():
        _check_same(ray, address)
        yield ray
        return
    _check_address(address)
    before = signal.getsignal(signal.SIGTERM)
    try:
        _start(ray, address, cpus)
        yield ray
    finally:
        ray.shutdown()  # also of a cluster that started only partly
        signal.signal(signal.SIGTERM, before)


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported
    return need("ray", "sweeps on a cluster")


def _start(ray: ModuleType, address: str, cpus: int) -> None:
    own = {"num_cpus": cpus, "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except Exception as error:  # Ray raises plain Exceptions
        what = "cannot start Ray on this machine" if own else f"cannot connect to Ray at {address!r}"
        raise KCircuitsError(f"{what}: {first_line(error)}") from error


def _check_same(ray: ModuleType, address: str) -> None:
    there = ray.get_runtime_context().gcs_address
    if address not in (there, "auto"):
        raise KCircuitsError(
            f"this process is connected to Ray at {there}, but the sweep needs {address!r}: give the same "
            "address, or call ray.shutdown() before"
        )


def _check_address(address: str) -> None:
    """Raise KCircuitsError unless a server listens there. Ray itself would try for a minute."""
    if address in (LOCAL, "auto"):
        return
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})", address)
    if match is None or not 0 < int(match[2]) < 2**16:
        raise KCircuitsError(
            f"a Ray address is local, auto, or HOST:PORT of the cluster's head such as 10.0.0.1:6379 (for "
            f"ray:// start the sweep on a node instead); got {address!r}"
        )
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), _SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise KCircuitsError(f"no Ray cluster answers at {address}: {error}") from error
