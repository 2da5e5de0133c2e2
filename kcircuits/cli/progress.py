"""A search's progress on stderr: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

SECONDS_BETWEEN_LINES = 10.0


class Done(Protocol):
    """How far long work has come, such as `kcircuits.discovery.Progress`."""

    @property
    def share(self) -> float:
        """Share of the work that is done."""
        ...

    @property
    def place(self) -> str:
        """Where the work is, in words."""
        ...

    def figures(self, seconds: float) -> str:
        """What has come of so many seconds, in words."""
        ...


@contextmanager
def shown_progress(show: bool) -> Iterator[Callable[[Done], None] | None]:
    """A callback for `kcircuits.discover` and the like that shows progress in the context; None for none."""
    if not show:
        yield None
    elif sys.stderr.isatty():
        with _live_bar() as callback:
            yield callback
    else:
        yield _Lines().update


@contextmanager
def _live_bar() -> Iterator[Callable[[Done], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    clock = _Clock()
    with bar:
        task = bar.add_task("starting", total=100, figures="")

        def update(done: Done) -> None:
            bar.update(
                task,
                description=done.place,
                completed=100 * done.share,
                figures=_figures(done, clock),
            )

        yield update


class _Clock:
    def __init__(self) -> None:
        self.start = monotonic()

    @property
    def seconds(self) -> float:
        return max(monotonic() - self.start, 1e-3)


class _Lines:
    """Plain lines, `SECONDS_BETWEEN_LINES` apart."""

    def __init__(self) -> None:
        self.clock, self.next = _Clock(), SECONDS_BETWEEN_LINES

    def update(self, done: Done) -> None:
        if self.clock.seconds >= self.next:
            self.next = self.clock.seconds + SECONDS_BETWEEN_LINES
            # One write: print makes two, and Ctrl-C between them would leave the line without its end.
            sys.stderr.write(f"{done.place}, {_figures(done, self.clock)}\n")
            sys.stderr.flush()


def _figures(done: Done, clock: _Clock) -> str:
    text = done.figures(clock.seconds)
    if done.share == 0:
        return text
    return f"{text}, about {duration(clock.seconds * (1 - done.share) / done.share)} to go"


def duration(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
