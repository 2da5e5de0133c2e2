"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

WIDTH = 100
"""Where there is no terminal to ask, rich takes 80, which would break the tables' lines."""


def table_console() -> Console:
    """A console on stdout, as wide as the terminal, or `WIDTH`."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)
