"""How much memory a command may take beside the weights, and the ways to keep its largest part."""

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
"""The default: this share of the memory that is available, and never more than so many bytes."""

SMALL = 64 * 2**20
"""The heap of any process varies by so many bytes: what needs less is not refused, whatever the budget."""

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
    """A number of bytes, at least 1, from bytes, from a text such as "8GiB", or by default.

    Parameters
    ----------
    memory
        Bytes; or a number with a unit, B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of
        1024); or None for `SHARE` of what is available now, at most `MOST`.

    Raises
    ------
    KCircuitsError
        If it is neither, or less than one byte.

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
    """What a phase of a command takes at least, whatever it is cut into.

    Parameters
    ----------
    phase
        What it is: a method, or "measuring circuits".
    of
        What the smallest step is of: "the longest prompt (2,007 tokens)".
    least
        Bytes of that step, weights not counted.
    on_cpu
        Whether they are in the CPU's memory.
    """

    phase: str
    of: str
    least: int
    on_cpu: bool = True

    @property
    def text(self) -> str:
        """As a refusal says it."""
        return f"{self.phase} needs at least {size_text(self.least)} for {self.of}"


def budget_for(memory: int | str | None, needs: Sequence[Need]) -> int:
    """The bytes that phases may take, each by itself: what is given, or the default, or the least that works.

    Freed blocks go back to the system first, so that they do not count twice.

    Parameters
    ----------
    memory
        As in `memory_bytes`. A default that is less than the phases need is raised to that.
    needs
        Of all phases (`kcircuits.engine.needs`).

    Raises
    ------
    KCircuitsError
        If a phase needs more than what is given, or, by default, than the machine has left; and if `memory`
        is no size.

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
    """The default budget, or what is needed at least where that is more."""
    default = memory_bytes(None)
    return default if need.least <= max(default, SMALL) else need.least


def size_text(count: int, up: bool = True) -> str:
    """Bytes in words, rounded up, so that as much is enough; or down.

    Examples
    --------
    >>> size_text(1610612737)
    '1.51 GiB'
    """
    unit, name, digits = (2**30, "GiB", 2) if count >= 2**30 else (2**20, "MiB", 1)
    whole = math.ceil if up else math.floor
    return f"{whole(count / unit * 10**digits) / 10**digits:.{digits}f} {name}"


def give_back() -> None:
    """Give memory that was freed back to the system.

    The GNU C library keeps blocks of less than 32 MiB for later, which may be many; others keep little.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def available_memory() -> int:
    """Bytes that this process can still allocate: what the system has left, or its container."""
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
    """Whether an error of torch says that memory ran out: its allocators raise RuntimeError.

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
