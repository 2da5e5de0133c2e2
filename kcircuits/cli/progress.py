"""A search's progress on stderr: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kcircuits.discover import Progress

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def shown_progress(show: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A callback for `kcircuits.discover` that shows progress while the context lasts; None to show none."""
    if not show:
        yield None
    elif sys.stderr.isatty():
        with _live_bar() as callback:
            yield callback
    else:
        yield _Lines().update


@contextmanager
def _live_bar() -> Iterator[Callable[[Progress], None]]:
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

        def update(done: Progress) -> None:
            bar.update(
                task,
                description=_place(done),
                completed=100 * _share_done(done),
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

    def update(self, done: Progress) -> None:
        if self.clock.seconds >= self.next:
            self.next = self.clock.seconds + SECONDS_BETWEEN_LINES
            # One write: print makes two, and Ctrl-C between them would leave the line without its end.
            sys.stderr.write(f"{_place(done)}, {_figures(done, self.clock)}\n")
            sys.stderr.flush()


def _place(done: Progress) -> str:
    return "logits" if done.layer == done.num_layers else f"layer {done.layer}"


def _figures(done: Progress, clock: _Clock) -> str:
    rate = done.tests / clock.seconds
    text = f"{done.edges_left:,} edges left, {done.tests:,} tests, {rate:,.0f} tests/s"
    share = _share_done(done)
    if share == 0:
        return text
    return f"{text}, about {_duration(clock.seconds * (1 - share) / share)} to go"


def _share_done(done: Progress) -> float:
    """Share of the time that has passed, roughly: later layers have more edges, earlier ones dearer tests."""
    return (done.num_layers - done.layer) / done.num_layers


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
