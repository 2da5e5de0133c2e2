"""Progress of long work: a live bar in a terminal, a line in a notebook, or plain lines at intervals."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from kcircuits.display.html import tag

SECONDS_BETWEEN_LINES = 10.0
SECONDS_WITHOUT_BAR = 2.0
"""Work that nobody asked to watch shows nothing before this."""


class Done(Protocol):
    """A state of long work, such as `kcircuits.discovery.Progress`."""

    @property
    def share(self) -> float:
        """Share of finished work."""
        ...

    @property
    def place(self) -> str:
        """The current step as text."""
        ...

    def figures(self, seconds: float) -> str:
        """The work done in this number of seconds, as text."""
        ...


@dataclass(frozen=True)
class Steps:
    """Progress of work whose steps take about the same time.

    Parameters
    ----------
    done, total
        Numbers of finished steps and of all steps.
    unit
        Name of the steps in the plural: "runs", "edges", "training steps".
    note
        Additional text, such as the current loss.
    """

    done: int
    total: int
    unit: str
    note: str = ""

    @property
    def share(self) -> float:
        """Share of finished steps."""
        return self.done / max(self.total, 1)

    @property
    def place(self) -> str:
        """The current step as text."""
        return f"{self.done:,} of {self.total:,} {self.unit}"

    def figures(self, seconds: float) -> str:
        """The work done in this number of seconds, as text."""
        return self.note or f"{self.done / seconds:,.1f} {self.unit}/s"


Callback = Callable[[Any], None]

_automatic = True


@contextmanager
def show_only_requested() -> Iterator[None]:
    """In this context, work shows progress only if its caller asks for it, as on the command line."""
    global _automatic
    earlier, _automatic = _automatic, False
    try:
        yield
    finally:
        _automatic = earlier


@contextmanager
def show_progress(wanted: Callback | bool | None) -> Iterator[Callback | None]:
    """A callback for long work, which shows progress while the context is open.

    Parameters
    ----------
    wanted
        None: a bar if stderr is a terminal, or if this is a notebook, once the work takes longer than
        `SECONDS_WITHOUT_BAR`. True: a bar at once, or a line every `SECONDS_BETWEEN_LINES` if a bar is not
        possible. False: nothing. A callback: that one.

    Yields
    ------
    callback or None
        Call it with objects such as `Steps`. None if nothing is shown.
    """
    if callable(wanted):
        yield wanted
        return
    draw = _live() if wanted or (wanted is None and _automatic) else None
    if draw is not None:
        with _Delayed(draw, 0.0 if wanted else SECONDS_WITHOUT_BAR) as bar:
            yield bar.update
    elif wanted:
        yield _Lines().update
    else:
        yield None


@contextmanager
def show_steps(
    wanted: Callable[[int, int], None] | bool | None, unit: str
) -> Iterator[Callable[[int, int], None] | None]:
    """`show_progress` for work that counts steps: the callback takes the finished and all steps."""
    if callable(wanted):
        yield wanted
        return
    with show_progress(wanted) as callback:
        yield callback and (lambda done, total: callback(Steps(done, total, unit)))


def _live() -> Callable[[], AbstractContextManager[Callback]] | None:
    """The function that draws a bar here, or None."""
    if in_notebook():
        return _notebook_bar
    return _terminal_bar if sys.stderr is not None and sys.stderr.isatty() else None


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class _Delayed:
    """A bar that appears at the first report after some seconds, and disappears at the end."""

    def __init__(self, draw: Callable[[], AbstractContextManager[Callback]], delay: float) -> None:
        self._draw, self._delay, self._clock = draw, delay, _Clock()
        self._open: AbstractContextManager[Callback] | None = None
        self._show: Callback | None = None

    def __enter__(self) -> _Delayed:
        if self._delay == 0:
            self._begin()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._open is not None:
            self._open.__exit__(*error)

    def _begin(self) -> Callback:
        self._open = self._draw()
        self._show = self._open.__enter__()
        return self._show

    def update(self, done: Done) -> None:
        if self._show is not None:
            self._show(done)
        elif self._clock.seconds >= self._delay:
            self._begin()(done)


@contextmanager
def _terminal_bar() -> Iterator[Callback]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
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


@contextmanager
def _notebook_bar() -> Iterator[Callback]:
    """One line below the cell, without widgets, which is removed at the end."""
    from IPython.display import HTML, display

    clock = _Clock()
    shown = display(HTML(""), display_id=True)

    def update(done: Done) -> None:
        bar = tag("progress", value=f"{done.share:.3f}", max="1")
        shown.update(HTML(str(tag("div", bar, f" {done.place}: {_figures(done, clock)}"))))

    try:
        yield update
    finally:
        shown.update(HTML(""))


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
    """Seconds as minutes and seconds, with hours if there are any.

    Examples
    --------
    >>> duration(75), duration(3661)
    ('1:15', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
