"""The circuit: its picture, size, settings and strongest edges."""

from __future__ import annotations

import json

from kcircuits.circuit import Circuit
from kcircuits.circuit.drawing import circuit_svg, dot_available
from kcircuits.display.html import Html, definitions, join, scroll_box, section, table, tag
from kcircuits.display.inline_svg import inline_svg
from kcircuits.display.numbers import number
from kcircuits.graph import kind_of
from kcircuits.report.graph_data import KINDS, MOST_EDGES
from kcircuits.report.results import Results
from kcircuits.report.sections.picture import interactive_picture

LISTED = 20


def circuit_section(circuit: Circuit, results: Results, other: Circuit | None = None) -> Html:
    """The section about the circuit itself. With `other`, the picture also shows changes."""
    return section(
        "circuit",
        "The circuit",
        tag("p", circuit_sentence(circuit)),
        _interactive(circuit, results, other),
        _picture(circuit),
        tag("h3", "Settings"),
        definitions([("method", circuit.method), *_settings(circuit)]),
        _strongest(circuit),
    )


def circuit_sentence(circuit: Circuit) -> str:
    """Size and metric of the circuit, as text."""
    total = circuit.graph.num_edges
    share = len(circuit.edges) / total
    text = (
        f"{len(circuit.edges):,} of {total:,} edges ({share:.2%}) between {len(circuit.nodes):,} nodes of "
        f"{circuit.model.get('name', 'a model without a name')}."
    )
    if circuit.metric:
        metric = circuit.settings.get("metric", "metric")
        values = ", ".join(f"{run} {value:.4g}" for run, value in circuit.metric.items())
        text += f" The {metric}, lower is better: {values}."
    return text


def _interactive(circuit: Circuit, results: Results, other: Circuit | None) -> Html:
    edges = (*circuit.edges, *(other.edges if other else ()))
    if not edges:
        return Html("")
    used = {kind_of(edge.receiver) for edge in edges}
    picture = interactive_picture(
        f"The circuit as a graph of {len(circuit.nodes)} nodes, from input at the bottom to logits",
        [kind for kind in KINDS if kind in used],
        has_roles=results.roles is not None,
        compared=other is not None,
        has_sizes=results.sizes is not None
        and any(point.num_edges for curve in results.sizes.curves for point in curve.points),
        has_readings=results.heads is not None and bool(results.heads.prompts),
    )
    if len(circuit.edges) <= MOST_EDGES:
        return picture
    text = (
        f"The picture shows at most {MOST_EDGES:,} of the {len(circuit.edges):,} edges, the strongest ones."
    )
    return join([picture, tag("p", text, class_="note")])


def _picture(circuit: Circuit) -> Html:
    """Draw the picture again: a file with a picture could contain anything."""
    if not dot_available():
        return tag("p", "There is no picture because graphviz is not installed.", class_="note")
    label = f"The circuit as a graph of {len(circuit.nodes)} nodes, from input at the bottom to logits"
    drawn = inline_svg(circuit_svg(circuit), label, "circuit-")
    caption = tag("figcaption", "Layers go from bottom to top. Point at a line to see its edges and scores.")
    figure = tag("figure", scroll_box(drawn, "Picture of the circuit"), caption)
    return tag("details", tag("summary", "The picture for print"), figure, open="", id="print")


def _settings(circuit: Circuit) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for key, value in {**circuit.settings, **circuit.stats}.items():
        if value is None or key == "input":  # the command line at the end shows the input
            continue
        pairs.append((key.replace("_", " "), value if isinstance(value, str) else json.dumps(value)))
    return [*pairs, ("weights", circuit.model.get("weights_hash", "unknown"))]


def _strongest(circuit: Circuit) -> Html:
    edges = sorted(circuit.edges, key=lambda edge: -abs(edge.score))[:LISTED]
    if not edges:
        return tag("p", "The circuit has no edges.", class_="note")
    rows = [
        (place, edge.sender, edge.receiver, number(edge.score, "+.4g"))
        for place, edge in enumerate(edges, start=1)
    ]
    return table(f"The {len(rows)} strongest edges", ("", "from", "to", "score"), rows)
