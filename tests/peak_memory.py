"""The peak of a process's own memory, for scripts that tests run in a process of their own (Linux)."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread

SECONDS_BETWEEN = 0.002


def used_bytes() -> int:
    """Anonymous memory in bytes. Pages of mapped files are not counted: the system can drop them."""
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) * 1024


class PeakMemory:
    """Watches from a thread how far the memory grows above what was in use at the start."""

    def __init__(self) -> None:
        self._start = self._peak = used_bytes()
        Thread(target=self._watch, daemon=True).start()

    @property
    def growth(self) -> int:
        """The peak above the start, in bytes."""
        return self._peak - self._start

    def reset(self) -> None:
        """Forget the peak; growth is still measured from the start."""
        self._peak = used_bytes()

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, used_bytes())
            time.sleep(SECONDS_BETWEEN)
