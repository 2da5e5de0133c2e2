"""`kcircuits report`: a page about the results in a folder."""

from __future__ import annotations

from typing import Annotated

import typer

from kcircuits.cli import options


def command(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="DIR", help="Has circuit.json, and evaluation.json and sizes.json if they were made."
        ),
    ],
    title: Annotated[
        str | None, typer.Option("--title", metavar="TEXT", help="Of the page. [default: model and method]")
    ] = None,
    quiet: options.QUIET = False,
) -> None:
    """Write DIR/report.html, one file that needs no network and no scripts."""
    from kcircuits.cli.results import drawable
    from kcircuits.report.page import write_report

    drawable()
    written = write_report(folder, title)
    if not quiet:
        print(f"written: {written}")
