"""Progress of long work: where it shows by itself, where only when it is wanted, and never elsewhere."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from kcircuits.discovery import Acdc, Eap, attribute, discover
from kcircuits.display import progress
from kcircuits.display.progress import Steps, duration, show_only_requested, show_progress, show_steps
from kcircuits.task import Task
from tests.analysis.models import model_of
from tests.tasks import random_prompts_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    made = Terminal()
    # Not sys.stderr itself, which pytest replaces before every test.
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=made, modules=sys.modules))
    monkeypatch.setenv("TERM", "xterm")
    return made


@pytest.fixture
def no_wait(monkeypatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_WITHOUT_BAR", 1e-9)


def run(wanted) -> None:
    with show_progress(wanted) as callback:
        if callback is not None:
            callback(Steps(3, 4, "runs"))


def test_a_bar_in_a_terminal(terminal, no_wait):
    run(None)
    assert "3 of 4 runs" in terminal.getvalue()


def test_short_work_shows_nothing(terminal):
    run(None)
    assert terminal.getvalue() == ""


def test_wanted_progress_does_not_wait(terminal):
    run(True)
    assert "3 of 4 runs" in terminal.getvalue()


def test_none_where_it_is_not_wanted(terminal, no_wait):
    run(False)
    with show_only_requested():
        run(None)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("wanted", [None, False, True])
def test_nothing_at_once_where_there_is_no_terminal(wanted, no_wait, capsys):
    run(wanted)
    assert capsys.readouterr() == ("", "")


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    run(True)
    assert capsys.readouterr().err.startswith("3 of 4 runs, ")


def test_without_stderr(monkeypatch):
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=None, modules=sys.modules))
    run(None)


def test_a_callback_is_called():
    seen: list[Steps] = []
    run(seen.append)
    assert seen == [Steps(3, 4, "runs")]


def test_steps_are_counted(terminal, no_wait):
    with show_steps(None, "edits") as callback:
        callback(1, 3)
    assert "1 of 3 edits" in terminal.getvalue()


def test_a_line_in_a_notebook(monkeypatch, no_wait):
    """One display, which is updated and empty in the end; text is escaped."""
    shown: list[str] = []
    handle = SimpleNamespace(update=lambda page: shown.append(page.data))
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(
        sys.modules,
        "IPython.display",
        SimpleNamespace(HTML=lambda text: SimpleNamespace(data=text), display=lambda *_, **__: handle),
    )
    with show_progress(None) as callback:
        callback(Steps(1, 2, "<runs>"))
    assert shown[0].startswith('<div><progress value="0.500" max="1">')
    assert "1 of 2 &lt;runs&gt;" in shown[0]
    assert shown[1:] == [""]


@pytest.mark.parametrize(
    "work", [lambda *given: discover(*given, Acdc(0.5)), lambda *given: attribute(*given, Eap())]
)
def test_searches_show_their_progress(work, terminal, no_wait):
    model = model_of("gpt2")
    task = Task(random_prompts_of([5]), "zero")
    work(model, task)
    assert "left" in terminal.getvalue() or "runs" in terminal.getvalue()


def test_durations():
    assert [duration(seconds) for seconds in (0.4, 61, 3600)] == ["0:00", "1:01", "1:00:00"]
