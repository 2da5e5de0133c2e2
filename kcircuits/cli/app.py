"""The commands, one file each."""

from __future__ import annotations

from typing import Annotated

import typer

from kcircuits._version import __version__
from kcircuits.cli import (
    behaviour,
    check,
    compare,
    convert,
    curves,
    discover,
    edit,
    evaluate,
    heads,
    knockout,
    plan,
    report,
    roles,
    sizes,
    sweep,
)
from kcircuits.cli.groups import add

app = typer.Typer(
    help="Find, measure, explain and edit knowledge circuits in language models.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,  # importing rich would double the time of --help
    pretty_exceptions_enable=False,
)
add(app, "check", check.command)
add(app, "discover", discover.command)
add(app, "evaluate", evaluate.command)
add(app, "convert", convert.command)
add(app, "sizes", sizes.command)
add(app, "plan", plan.command)
add(app, "curves", curves.command)
add(app, "heads", heads.command)
add(app, "compare", compare.command)
add(app, "knockout", knockout.command)
add(app, "roles", roles.command)
app.add_typer(behaviour.app, name="behaviour")
add(app, "edit", edit.command)
add(app, "report", report.command)
add(app, "sweep", sweep.command)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"kcircuits {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and exit."),
    ] = False,
) -> None:
    pass
