"""The circuit: its picture, its numbers, how it was found, and its strongest edges."""

from __future__ import annotations

import json

from kcircuits.circuit import Circuit
from kcircuits.report.drawing import circuit_svg, dot_available
from kcircuits.report.html import Html, definitions, scrolling, section, table, tag
from kcircuits.report.inline_svg import inline_svg
from kcircuits.report.sections.numbers import number

MOST_EDGES = 20


def circuit_section(circuit: Circuit) -> Html:
    """The section about the circuit itself."""
    return section(
        "circuit",
        "The circuit",
        _sentence(circuit),
        _picture(circuit),
        tag("h3", "Settings"),
        definitions([("method", circuit.method), *_settings(circuit)]),
        _strongest(circuit),
    )


def _sentence(circuit: Circuit) -> Html:
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
    return tag("p", text)


def _picture(circuit: Circuit) -> Html:
    """Drawn anew, as a picture in a file could be anything."""
    if not dot_available():
        return tag("p", "There is no picture, as graphviz' program dot is not installed.", class_="note")
    label = f"The circuit as a graph of {len(circuit.nodes)} nodes, from input at the bottom to logits"
    drawn = inline_svg(circuit_svg(circuit), label, "circuit-")
    caption = tag(
        "figcaption", "Layers from the bottom up. Rest on a line to see its edges and their scores."
    )
    return tag("figure", scrolling(drawn, "Picture of the circuit"), caption)


def _settings(circuit: Circuit) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for key, value in {**circuit.settings, **circuit.stats}.items():
        if value is None or key == "input":  # the command line at the end has the input
            continue
        pairs.append((key.replace("_", " "), value if isinstance(value, str) else json.dumps(value)))
    return [*pairs, ("weights", circuit.model.get("weights_hash", "unknown"))]


def _strongest(circuit: Circuit) -> Html:
    edges = sorted(circuit.edges, key=lambda edge: -abs(edge.score))[:MOST_EDGES]
    if not edges:
        return tag("p", "The circuit has no edges.", class_="note")
    rows = [
        (place, edge.sender, edge.receiver, number(edge.score, "+.4g"))
        for place, edge in enumerate(edges, start=1)
    ]
    return table(f"The {len(rows)} strongest edges", ("", "from", "to", "score"), rows)
