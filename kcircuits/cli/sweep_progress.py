"""A sweep's progress on stderr: a live table of running jobs on a terminal, else a line per ended job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from kcircuits.sweeps import Update


@contextmanager
def shown_sweep(show: bool) -> Iterator[Callable[[Update], None] | None]:
    """A callback for `kcircuits.sweep` that shows progress in the context; None for none."""
    if not show:
        yield None
    elif sys.stderr.isatty():
        with _live_table() as callback:
            yield callback
    else:
        yield _line


def _line(update: Update) -> None:
    if update.status != "running":
        # One write: print makes two, and Ctrl-C between them would leave the line without its end.
        sys.stderr.write(f"{_ended(update)}\n")
        sys.stderr.flush()


def _ended(update: Update) -> str:
    count = f"{update.done + update.failed:,} of {update.total:,}"
    what = f"{update.seconds:.1f} s" if update.status in ("done", "scored") else update.message
    return f"{count}  {update.status}: {update.title} ({what})"


@contextmanager
def _live_table() -> Iterator[Callable[[Update], None]]:
    from rich.console import Console
    from rich.live import Live

    table = _Table()
    console = Console(stderr=True)
    with Live(get_renderable=table.render, console=console, refresh_per_second=2, transient=True) as live:

        def show(update: Update) -> None:
            table.update(update)
            if update.status != "running":
                live.console.print(_ended(update), markup=False, highlight=False)

        yield show


class _Table:
    """The running jobs, and how far the sweep is."""

    def __init__(self) -> None:
        self._start = monotonic()
        self._first: int | None = None
        self._running: dict[str, tuple[float, Update]] = {}
        self._last: Update | None = None

    def update(self, update: Update) -> None:
        """Take an update in."""
        if self._first is None:
            self._first = update.done + update.failed
        self._last = update
        if update.status == "running":
            since, _ = self._running.get(update.key, (monotonic(), update))
            self._running[update.key] = since, update
        else:
            self._running.pop(update.key, None)

    def render(self) -> RenderableType:
        """The table as it is now."""
        from rich.table import Table
        from rich.text import Text

        from kcircuits.display.progress import duration

        if self._last is None:
            return Text("loading models and choosing prompts")
        now = monotonic()
        table = Table(title=self._headline(now), title_justify="left", box=None, pad_edge=False)
        for name, justify in (("running", "left"), ("where", "left"), ("", "right"), ("time", "right")):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for since, each in self._running.values():
            share = f"{each.share:.0%}" if each.share else ""
            table.add_row(Text(each.title), Text(each.place), share, duration(now - since))
        return table

    def _headline(self, now: float) -> str:
        from kcircuits.display.progress import duration

        assert self._last is not None and self._first is not None
        ended = self._last.done + self._last.failed
        text = f"{ended:,} of {self._last.total:,} jobs"
        if self._last.failed:
            text += f", {self._last.failed:,} failed"
        passed, new = now - self._start, ended - self._first
        if new:
            text += f", about {duration(passed / new * (self._last.total - ended))} to go"
        return text
