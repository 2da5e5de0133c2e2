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

app = typer.Typer(
    help="Find, measure, explain and edit knowledge circuits in language models.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,  # importing rich would double the time of --help
    pretty_exceptions_enable=False,
)
app.command("check")(check.command)
app.command("discover")(discover.command)
app.command("evaluate")(evaluate.command)
app.command("convert")(convert.command)
app.command("sizes")(sizes.command)
app.command("plan")(plan.command)
app.command("curves")(curves.command)
app.command("heads")(heads.command)
app.command("compare")(compare.command)
app.command("knockout")(knockout.command)
app.command("roles")(roles.command)
app.add_typer(behaviour.app, name="behaviour")
app.command("edit")(edit.command)
app.command("report")(report.command)
app.command("sweep")(sweep.command)


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
