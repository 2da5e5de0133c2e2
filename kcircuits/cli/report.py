"""`kcircuits report`: a page about the results in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kcircuits.cli.options import Quiet
from kcircuits.runtime.option_fields import Options, option


@dataclass(frozen=True)
class Page(Options):
    """What is on the page."""

    title: ClassVar[str] = "Report"

    folder: str = option(
        help="Folder with results of other commands: circuit.json, evaluation.json, sizes.json, curves.json, "
        "heads.json, roles.json, comparison.json, hallucination.json, icl.json, knockout.json, "
        "explain.json, edits.json; each brings its section.",
        metavar="DIR",
        positional=True,
    )
    heading: str | None = option(
        None,
        help="Title of the page.",
        metavar="TEXT",
        flag="--title",
        default_text="model and method",
    )
    compare: str | None = option(
        None,
        help="Another circuit.json: show which edges were added, lost and kept since.",
        metavar="OTHER/circuit.json",
    )


def command(page: Page, output: Quiet) -> None:
    """Write DIR/report.html, an interactive page in one file that needs no network."""
    from kcircuits.cli.results import drawable
    from kcircuits.report.page import write_report

    if (Path(page.folder) / "circuit.json").exists():
        drawable()
    written = write_report(page.folder, page.heading, page.compare)
    if not output.quiet:
        print(f"written: {written}")
