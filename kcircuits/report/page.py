"""One page about a circuit: a file of HTML that needs nothing beside itself."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from kcircuits.files import write_atomically
from kcircuits.report.html import Html, joined, section, tag
from kcircuits.report.results import Results, load_results
from kcircuits.report.sections.circuit_section import circuit_section
from kcircuits.report.sections.evaluation_section import evaluation_section
from kcircuits.report.sections.repeat_section import repeat_section
from kcircuits.report.sections.sizes_section import sizes_section

NAME = "report.html"
# Nothing is fetched and nothing runs, whatever finds its way into the page.
_POLICY = Html(
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)


def write_report(folder: str | Path, title: str | None = None) -> Path:
    """Write report.html about the results in a folder, beside them and atomically; returns its path.

    Parameters
    ----------
    folder
        Has circuit.json and perhaps evaluation.json and sizes.json.
    title
        Of the page; by default the model's name and the method.

    Raises
    ------
    KCircuitsError
        If a file is missing or not what it should be, or the place cannot be written.
    """
    page = report_page(load_results(folder), str(folder), title)
    path = Path(folder) / NAME
    write_atomically(path, page)
    return path


def report_page(results: Results, folder: str, title: str | None = None) -> str:
    """The page as text; `folder` is what its command lines call the folder of the results."""
    circuit = results.circuit
    heading = (
        title or f"{circuit.model.get('name', 'A model without a name')}: a circuit found by {circuit.method}"
    )
    sections = [circuit_section(circuit)]
    sections.append(
        evaluation_section(results.evaluation)
        if results.evaluation is not None
        else _missing("evaluation", "How good it is", "kcircuits evaluate", "measures the circuit")
    )
    sections.append(
        sizes_section(results.sizes)
        if results.sizes is not None
        else _missing("sizes", "Methods over sizes", "kcircuits sizes", "compares methods")
    )
    sections.append(repeat_section(results, folder))
    style = Html(files("kcircuits.report").joinpath("page.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        Html('<meta charset="utf-8">'),
        _POLICY,
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", heading),
        tag("style", style),
    )
    body = tag("body", tag("header", tag("h1", heading), _contents()), tag("main", *sections))
    return joined([Html("<!DOCTYPE html>"), tag("html", head, body, lang="en")]) + "\n"


def _contents() -> Html:
    links = {
        "circuit": "The circuit",
        "evaluation": "How good it is",
        "sizes": "Methods over sizes",
        "repeat": "How to repeat",
    }
    items = [tag("li", tag("a", text, href=f"#{identifier}")) for identifier, text in links.items()]
    return tag("nav", tag("ul", *items), aria_label="Sections")


def _missing(identifier: str, title: str, command: str, what: str) -> Html:
    return section(
        identifier, title, tag("p", "Not measured: ", tag("code", command), f" {what}.", class_="note")
    )
