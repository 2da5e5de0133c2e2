"""The command `kcircuits`: what it prints when something goes wrong, and the exit status.

0: done. 2: bad input, one line on stderr, nothing written. 130: Ctrl-C. 143: SIGTERM.
1: anything else that ends in one line (no compiled module, not enough memory).
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from kcircuits.cli.streams import open_standard_streams
from kcircuits.display.progress import show_only_requested
from kcircuits.errors import KCircuitsError, KCircuitsWarning
from kcircuits.model.huggingface import pause_garbage_collection
from kcircuits.runtime.interrupts import SIGNALS, Terminated
from kcircuits.runtime.memory import is_about_memory
from kcircuits.runtime.option_fields import OptionError

OK, FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

# OpenMP's threads wait for work by spinning. By default they do so for milliseconds, and where other programs
# want the cores, too, each of thousands of short regions waits for a thread that spins: a search takes
# fifty times as long. With this limit it is twice; on an idle machine it costs six per cent.
SPIN_LIMIT = "2000"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_LIMIT)
    terminated = False

    def terminate(number: int, frame: FrameType | None) -> NoReturn:
        nonlocal terminated
        terminated = True  # typer turns either exception into the status of Ctrl-C
        raise Terminated

    try:
        open_standard_streams()
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, terminate)
        with (
            pause_garbage_collection()
        ):  # until `prepare` has the model: imports make a million objects that stay
            status = run(arguments)
        _ignore_signals()  # all is done and said, or it was stopped already
    except KeyboardInterrupt:
        _ignore_signals()
        status = INTERRUPTED
    if status == INTERRUPTED:
        _say("stopped")
        # Not sys.exit: where Ctrl-C came in the middle of an import, Python would end itself by the signal,
        # which some callers do not see as 130.
        os._exit(_flushed(TERMINATED if terminated else INTERRUPTED))
    sys.exit(_flushed(status))


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _flushed(status: int) -> int:
    """The exit status once stdout has been written: at the interpreter's end that would fail unsaid."""
    try:
        sys.stdout.flush()
    except KCircuitsError as error:
        _say(str(error))
        return status or BAD_INPUT
    return status


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; Ctrl-C may come out as KeyboardInterrupt."""
    import typer

    from kcircuits.cli.app import app
    from kcircuits.cli.groups import flag_of

    try:
        with _warnings_in_a_line(), show_only_requested():
            status = app(args=arguments, prog_name="kcircuits", standalone_mode=False)
    except typer.TyperException as error:  # an option that is unknown, missing or of the wrong type
        _say(f"{error.format_message()} (see --help)")
        return BAD_INPUT
    except OptionError as error:
        _say(error.named(flag_of))
        return BAD_INPUT
    except (KCircuitsError, OSError) as error:
        _say(str(error))
        return BAD_INPUT
    except (ImportError, MemoryError) as error:
        _say(str(error) or "not enough memory")
        return FAILED
    except RuntimeError as error:
        if not _can_be_said_in_a_line(error):
            raise
        _say(_first_line(str(error)))
        return FAILED
    return status if isinstance(status, int) else OK


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Print warnings of this package as errors are printed: one line, without a place in the source."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, KCircuitsWarning):
                _say(f"warning: {message}")
            else:
                others(message, category, *place, **more)

        warnings.simplefilter("always", KCircuitsWarning)
        warnings.showwarning = show
        yield


def _can_be_said_in_a_line(error: RuntimeError) -> bool:
    """The search contradicts itself, or torch cannot allocate; all else needs its traceback."""
    return type(error).__name__ == "StaleMetricError" or is_about_memory(str(error))


def _first_line(text: str) -> str:
    return text.splitlines()[0]


def _say(message: str) -> None:
    print("kcircuits: " + " ".join(message.split("\n")), file=sys.stderr)
