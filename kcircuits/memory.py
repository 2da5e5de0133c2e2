"""How much memory a search may take, in bytes, and the names of the ways to keep its largest part."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from kcircuits.errors import KCircuitsError

Layout = Literal["memory", "bfloat16", "host", "recomputed"]
Senders = Literal["auto", "memory", "bfloat16", "host", "recomputed"]
"""How the outputs of all senders are kept: a layout, or the first one that fits (`kcircuits.layouts`)."""

SHARE, MOST = 0.25, 4 * 2**30
"""The default: this share of the memory that is available, and never more than so many bytes."""

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
        return max(1, min(MOST, int(SHARE * available())))
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


def available() -> int:
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
