"""How much several circuits have in common: matrices, and the nodes that most of them share."""

from __future__ import annotations

from typing import Any

from kcircuits.report.html import Html, scrolling, section, table, tag
from kcircuits.report.sections.numbers import number

_TITLES = {
    "node_overlap": "Nodes in common (Jaccard)",
    "edge_overlap": "Edges in common (Jaccard)",
    "reverse_overlap": "Share of the column's nodes that the row has",
}


def overlap_section(overlaps: dict[str, Any]) -> Html:
    """The section about circuits side by side."""
    circuits = overlaps["circuits"]
    names = [each["name"] for each in circuits]
    sizes = [(each["name"], f"{each['edges']:,}", f"{each['nodes']:,}") for each in circuits]
    parts = [table("The circuits", ("", "edges", "nodes"), sizes)]
    matrices = [_matrix(title, names, overlaps[key]) for key, title in _TITLES.items()]
    parts.append(tag("div", *matrices, class_="charts"))
    if overlaps["backbone"]:
        rows = [(each["node"], f"{each['share']:.0%}") for each in overlaps["backbone"]]
        parts.append(table("Nodes that most circuits share", ("node", "circuits"), rows, sortable=True))
    return section("overlap", "Circuits side by side", *parts)


def _matrix(title: str, names: list[str], rows: list[list[float]]) -> Html:
    """A table whose cells are the darker the closer they are to 1."""
    head = tag("tr", tag("td"), *(tag("th", name, scope="col") for name in names))
    body = (
        tag("tr", tag("th", name, scope="row"), *map(_cell, row))
        for name, row in zip(names, rows, strict=True)
    )
    made = tag("table", tag("caption", title), tag("thead", head), tag("tbody", *body), class_="matrix")
    return scrolling(made, title)


def _cell(value: float) -> Html:
    level = min(5, max(0, int(value * 6)))
    return tag("td", number(value, ".2f"), class_=f"level-{level}")
