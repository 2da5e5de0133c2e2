"""Commands that reproduce the results."""

from __future__ import annotations

import shlex

from kcircuits.display.html import Html, scroll_box, section, tag
from kcircuits.report.command_line import discover_command, evaluate_command, sizes_command
from kcircuits.report.results import Results


def repeat_section(results: Results, folder: str, compared: str | None = None) -> Html:
    """The section with the command lines of all results that recorded their input.

    `compared` is the path of the circuit.json that the page compares with.
    """
    circuit, evaluation, sizes = results.circuit, results.evaluation, results.sizes
    commands: list[str | None] = []
    if circuit is not None:
        commands.append(discover_command(circuit.method, circuit.settings, folder))
    if evaluation is not None and results.evaluated is not None:
        path = f"{folder.rstrip('/')}/circuit.json"
        commands.append(evaluate_command(results.evaluated, len(evaluation.random), path, folder))
    if sizes is not None:
        methods = [curve.name for curve in sizes.curves]
        commands.append(sizes_command(methods, sizes.settings, folder))
    known = [command for command in commands if command is not None]
    parts: list[Html] = []
    if len(known) < len(commands):
        text = "Some results do not record their model and prompts: they were not made on the command line, "
        parts.append(tag("p", text + "or they were made by an older version.", class_="note"))
    other = [] if compared is None else ["--compare", compared]
    known.append(shlex.join(["kcircuits", "report", folder, *other]))
    lines = [scroll_box(tag("pre", tag("code", command)), "Command") for command in known]
    return section("repeat", "Reproduce", *parts, *lines)
