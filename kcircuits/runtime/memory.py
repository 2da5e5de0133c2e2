"""Memory budgets: how much memory a command may use in addition to the weights."""

from __future__ import annotations

import ctypes
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kcircuits.errors import KCircuitsError

Layout = Literal["memory", "bfloat16", "host", "recomputed"]
Senders = Literal["auto", "memory", "bfloat16", "host", "recomputed"]
"""Layout of the outputs of all senders, or "auto": the first one that fits (`kcircuits.engine.layouts`)."""

SHARE, MOST = 0.25, 4 * 2**30
"""The default budget is this share of the available memory, at most `MOST` bytes."""

SMALL = 64 * 2**20
"""Bytes by which the heap of any process varies; a phase that needs less is never refused."""

_UNITS = {"": 1, "B": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for suffix, base in (("B", 1000), ("iB", 1024))
}
_CGROUP = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def memory_bytes(memory: int | str | None) -> int:
    """Convert a memory size to bytes, at least 1.

    Parameters
    ----------
    memory
        Bytes; or a number with a unit, B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of
        1024); or None for the default, `SHARE` of the memory that is available now, at most `MOST`.

    Raises
    ------
    KCircuitsError
        If it is not a size, or less than one byte.

    Examples
    --------
    >>> memory_bytes("1.5GiB")
    1610612736
    """
    if memory is None:
        return max(1, min(MOST, int(SHARE * available_memory())))
    wanted = "memory must be a number of bytes or a size such as 8GiB or 512MB"
    if isinstance(memory, str):
        match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]*)\s*", memory)
        unit = match and next((u for u in _UNITS if u.lower() == match[2].lower()), None)
        if match is None or unit is None:
            raise KCircuitsError(f"{wanted}, got {memory!r}")
        size = int(float(match[1]) * _UNITS[unit])
    elif type(memory) is int:
        size = memory
    else:
        raise KCircuitsError(f"{wanted}, got {memory!r}")
    if not 1 <= size < 2**62:
        raise KCircuitsError(f"{wanted}, at least one and not more than any machine has; got {memory!r}")
    return size


@dataclass(frozen=True)
class Need:
    """The least memory of a phase of a command: that of its smallest step.

    Parameters
    ----------
    phase
        Name of the phase: a method, or "measuring circuits".
    of
        What the smallest step works on: "the longest prompt (2,007 tokens)".
    least
        Bytes of that step, without the weights.
    on_cpu
        Whether these bytes are in CPU memory.
    """

    phase: str
    of: str
    least: int
    on_cpu: bool = True

    @property
    def text(self) -> str:
        """The beginning of an error message about this need."""
        return f"{self.phase} needs at least {size_text(self.least)} for {self.of}"


def budget_for(memory: int | str | None, needs: Sequence[Need]) -> int:
    """The memory budget for some phases that run one after another, in bytes.

    Freed blocks are first returned to the system, so that they are not counted twice.

    Parameters
    ----------
    memory
        As in `memory_bytes`. If None, the default is raised to what the phases need.
    needs
        Needs of all phases (`kcircuits.engine.needs`).

    Raises
    ------
    KCircuitsError
        If a phase needs more than `memory`, or, if that is None, more than the machine has left; or if
        `memory` is not a size.

    Examples
    --------
    >>> budget_for("2GiB", [Need("eap", "the longest prompt (2,007 tokens)", 2**30)])
    2147483648
    """
    give_back()
    budget = memory_bytes(memory)
    need = max(needs, key=lambda each: each.least)
    if need.least <= max(budget, SMALL):
        return budget
    if memory is not None:
        raise KCircuitsError(
            f"{need.text}, and --memory is {size_text(budget, up=False)}: give more, or shorter prompts"
        )
    left = available_memory()
    if need.on_cpu and need.least > left:
        raise KCircuitsError(
            f"{need.text}, and this machine has {size_text(left, up=False)} left: give shorter prompts"
        )
    return default_for(need)


def default_for(need: Need) -> int:
    """The default budget, or the least memory of a phase if that is larger."""
    default = memory_bytes(None)
    return default if need.least <= max(default, SMALL) else need.least


def size_text(count: int, up: bool = True) -> str:
    """A number of bytes with a unit, rounded up (so that this much suffices) or down.

    Examples
    --------
    >>> size_text(1610612737)
    '1.51 GiB'
    """
    unit, name, digits = (2**30, "GiB", 2) if count >= 2**30 else (2**20, "MiB", 1)
    whole = math.ceil if up else math.floor
    return f"{whole(count / unit * 10**digits) / 10**digits:.{digits}f} {name}"


def give_back() -> None:
    """Return freed memory to the system.

    The GNU C library keeps freed blocks below 32 MiB, which may add up; other libraries keep little.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def available_memory() -> int:
    """Bytes that this process can still allocate, given the limits of the system and its container."""
    left = [_system_memory()]
    for limit_file, usage_file in _CGROUP:
        limit, usage = _number_in(limit_file), _number_in(usage_file)
        if limit is not None and usage is not None:
            left.append(limit - usage)
    return max(0, min(left))


def _system_memory() -> int:
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match:
        return int(match[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _number_in(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # no such control group, or "max"
        return None


def is_about_memory(text: str) -> bool:
    """Whether the text of a PyTorch error (a RuntimeError) says that memory ran out.

    Examples
    --------
    >>> is_about_memory("unable to mmap 5 bytes from file <model>: Cannot allocate memory (12)")
    True
    """
    said = text.lower()
    return any(
        part in said
        for part in ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")
    )
