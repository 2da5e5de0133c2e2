"""The report of a folder of results: one HTML file that needs no other file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from kcircuits.analysis.comparison.section import overlap_section
from kcircuits.analysis.curves.section import curves_section
from kcircuits.analysis.hallucination.section import hallucination_section
from kcircuits.analysis.heads.section import heads_section
from kcircuits.analysis.in_context.section import icl_section
from kcircuits.analysis.knockout.section import knockout_section
from kcircuits.analysis.roles.section import roles_section
from kcircuits.circuit import Circuit
from kcircuits.display.html import Html, join, section, tag
from kcircuits.editing.explanation_section import edit_section
from kcircuits.editing.report_section import edits_section
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.section import evaluation_section
from kcircuits.files.writing import write_atomically
from kcircuits.report.page.data import data_block
from kcircuits.report.page.scripts import policy, script_elements, scripts
from kcircuits.report.results import Results, load_results
from kcircuits.report.sections.change_section import change_section
from kcircuits.report.sections.circuit_section import circuit_section
from kcircuits.report.sections.repeat_section import repeat_section
from kcircuits.sizes.section import sizes_section

NAME = "report.html"


@dataclass(frozen=True)
class OtherCircuit:
    """Another circuit of the same graph, and its name: the path of its file."""

    circuit: Circuit
    name: str


def write_report(folder: str | Path, title: str | None = None, compare: str | Path | None = None) -> Path:
    """Write report.html into a folder of results, atomically, and return its path.

    Parameters
    ----------
    folder
        A folder with at least one of the files that `kcircuits.report.results` reads.
    title
        Title of the page; by default the model's name and the circuit's method.
    compare
        The circuit.json of another circuit. The page then shows which edges the folder's circuit adds, loses
        and keeps.

    Raises
    ------
    KCircuitsError
        If a file is missing or invalid, the other circuit has another graph, or the file cannot be written.
    """
    results = load_results(folder)
    compared = None if compare is None else _load_compared(results.circuit, folder, compare)
    path = Path(folder) / NAME
    write_atomically(path, report_page(results, str(folder), title, compared))
    return path


def report_page(
    results: Results, folder: str, title: str | None = None, compared: OtherCircuit | None = None
) -> str:
    """The page as text. `folder` is the path of the results in the page's command lines."""
    heading = title or _heading(results)
    parts = list(_sections(results, folder, compared))
    code = scripts()
    style = Html(files("kcircuits.report.page").joinpath("page.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        Html('<meta charset="utf-8">'),
        policy(code),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", heading),
        tag("style", style),
    )
    contents = [tag("li", tag("a", text, href=f"#{identifier}")) for identifier, text, _ in parts]
    navigation = tag("nav", tag("ul", *contents), aria_label="Sections")
    body = tag(
        "body",
        tag("header", tag("h1", heading), navigation),
        tag("main", *(content for _, _, content in parts)),
        data_block(results, compared.circuit if compared else None),
        script_elements(code),
    )
    return join([Html("<!DOCTYPE html>"), tag("html", head, body, lang="en")]) + "\n"


def _heading(results: Results) -> str:
    name = results.model.get("name", "A model without a name")
    about = "results" if results.circuit is None else f"a circuit found by {results.circuit.method}"
    return f"{name}: {about}"


def _sections(
    results: Results, folder: str, compared: OtherCircuit | None
) -> Iterator[tuple[str, str, Html]]:
    """The sections in order: identifier, title in the contents, and the section."""
    circuit = results.circuit
    if circuit is not None:
        shown = circuit_section(circuit, results, compared.circuit if compared else None)
        yield "circuit", "The circuit", shown
        if compared is not None:
            yield "change", "Changes", change_section(circuit, compared.circuit, compared.name)
    if results.curves is not None:
        yield "curves", "Layer curves", curves_section(results.curves)
    if results.heads is not None:
        yield "heads", "What the nodes write", heads_section(in_picture=circuit is not None)
    if results.roles is not None:
        yield "roles", "Roles of the heads", roles_section(results.roles)
    yield from _behaviours(results)
    if results.comparison is not None:
        yield "overlap", "Overlap of circuits", overlap_section(results.comparison)
    if results.evaluation is not None:
        yield "evaluation", "Evaluation", evaluation_section(results.evaluation)
    elif circuit is not None:
        missing = _missing_section("evaluation", "Evaluation", "kcircuits evaluate", "measures the circuit")
        yield "evaluation", "Evaluation", missing
    if results.sizes is not None:
        yield "sizes", "Methods over circuit sizes", sizes_section(results.sizes)
    elif circuit is not None:
        title = "Methods over circuit sizes"
        yield "sizes", title, _missing_section("sizes", title, "kcircuits sizes", "compares methods")
    yield "repeat", "Reproduce", repeat_section(results, folder, compared.name if compared else None)


def _behaviours(results: Results) -> Iterator[tuple[str, str, Html]]:
    """The sections about a model's behaviour, and about knockouts and edits."""
    if results.knockout is not None:
        yield "knockout", "Without the circuit", knockout_section(results.knockout)
    if results.hallucination is not None:
        yield "hallucination", "Hallucinations", hallucination_section(results.hallucination)
    if results.icl is not None:
        yield "icl", "In-context learning", icl_section(results.icl)
    if results.explain is not None:
        yield "edit", "What the edit changed", edit_section(results.explain)
    if results.edits is not None:
        yield "edits", "Success of the edits", edits_section(results.edits)


def _load_compared(circuit: Circuit | None, folder: str | Path, path: str | Path) -> OtherCircuit:
    if circuit is None:
        raise KCircuitsError(f"there is no circuit.json in {folder} to compare with {path}")
    other = Circuit.load(path)
    if other.graph != circuit.graph:
        raise KCircuitsError(
            f"{path}: a circuit of {other.graph} cannot be compared with one of {circuit.graph}: "
            "the models must have the same layers and heads"
        )
    return OtherCircuit(other, str(path))


def _missing_section(identifier: str, title: str, command: str, what: str) -> Html:
    return section(
        identifier, title, tag("p", "Not measured: ", tag("code", command), f" {what}.", class_="note")
    )
