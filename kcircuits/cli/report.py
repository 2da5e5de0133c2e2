"""`kcircuits report`: a page about the results in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kcircuits.cli import options


def command(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="Has what other commands have written there: circuit.json, evaluation.json, sizes.json, "
            "curves.json, heads.json, roles.json, comparison.json, hallucination.json, icl.json, "
            "knockout.json, explain.json, edits.json. Each brings its section.",
        ),
    ],
    title: Annotated[
        str | None, typer.Option("--title", metavar="TEXT", help="Of the page. [default: model and method]")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="OTHER/circuit.json",
            help="Another circuit: show which edges were added since, lost and kept.",
        ),
    ] = None,
    quiet: options.QUIET = False,
) -> None:
    """Write DIR/report.html, an interactive page in one file that needs no network."""
    from kcircuits.cli.results import drawable
    from kcircuits.report.page import write_report

    if (Path(folder) / "circuit.json").exists():
        drawable()
    written = write_report(folder, title, compare)
    if not quiet:
        print(f"written: {written}")
