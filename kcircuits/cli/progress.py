"""A search's progress on stderr: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kcircuits.discover.progress import Progress, ProgressCallback, Steps

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def shown_progress(show: bool) -> Iterator[ProgressCallback | None]:
    """A callback for `kcircuits.discover` that shows progress while the context lasts; None to show none."""
    if not show:
        yield None
    elif sys.stderr.isatty():
        with _live_bar() as callback:
            yield callback
    else:
        yield _Lines().update


@contextmanager
def _live_bar() -> Iterator[ProgressCallback]:
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

        def update(done: Progress | Steps) -> None:
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

    def update(self, done: Progress | Steps) -> None:
        if self.clock.seconds >= self.next:
            self.next = self.clock.seconds + SECONDS_BETWEEN_LINES
            # One write: print makes two, and Ctrl-C between them would leave the line without its end.
            sys.stderr.write(f"{done.place}, {_figures(done, self.clock)}\n")
            sys.stderr.flush()


def _figures(done: Progress | Steps, clock: _Clock) -> str:
    text = done.figures(clock.seconds)
    if done.share == 0:
        return text
    return f"{text}, about {_duration(clock.seconds * (1 - done.share) / done.share)} to go"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
