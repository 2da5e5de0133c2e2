"""Overlap of several circuits: matrices, frequency by layer, backbone and two-hop questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from kcircuits.analysis.comparison.results import ComparedCircuit, Comparison
from kcircuits.analysis.comparison.two_hop import LEVELS, Containment, TwoHop
from kcircuits.display.html import Html, section, table, tag
from kcircuits.display.matrix import matrix
from kcircuits.display.numbers import NOTHING, number

MOST_NAMES = 60
_TITLES = {
    "node_overlap": "Overlap of nodes (Jaccard)",
    "edge_overlap": "Overlap of edges (Jaccard)",
    "reverse_overlap": "Share of the column's nodes that are also in the row",
}


def overlap_section(comparison: Comparison) -> Html:
    """The section about the overlap of circuits. A script draws the charts of layers."""
    names = [each.name for each in comparison.circuits]
    matrices = [
        matrix(title, names, zip(names, getattr(comparison, key).tolist(), strict=True))
        for key, title in _TITLES.items()
    ]
    parts = [_circuits(comparison.circuits), tag("div", *matrices, class_="charts")]
    if comparison.frequency:
        text = (
            "How often the nodes of each layer are in the circuits of a domain: share of circuits for the "
            "heads (mean over the layer's heads) and for the MLP."
        )
        parts += [
            tag("h3", "Frequency by layer"),
            tag("p", text),
            tag("div", id="frequency-charts"),
        ]
    parts += _backbone(comparison.backbone, comparison.least)
    if comparison.two_hop is not None:
        parts += _two_hop(comparison.two_hop)
    return section("overlap", "Overlap of circuits", *parts)


def _circuits(circuits: Sequence[ComparedCircuit]) -> Html:
    rows = [
        (
            each.name,
            each.domain,
            f"{each.num_edges:,}",
            f"{each.num_nodes:,}",
            NOTHING if each.entropy is None else number(math.exp(min(each.entropy, 700.0)), ",.1f"),
        )
        for each in circuits
    ]
    return table("The circuits", ("", "domain", "edges", "nodes", "effective edges"), rows)


def _backbone(backbone: Sequence[tuple[str, float]], least: float) -> list[Html]:
    title = tag("h3", "Shared backbone")
    if not backbone:
        return [title, tag("p", f"No head or MLP is in at least {least:.0%} of the circuits.")]
    rows = [(node, f"{share:.0%}") for node, share in backbone]
    caption = f"Heads and MLPs in at least {least:.0%} of the circuits: {len(rows):,}"
    everywhere = [node for node, share in backbone if share == 1]
    parts = [title]
    if everywhere:
        more = len(everywhere) - MOST_NAMES
        names = ", ".join(everywhere[:MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")
        parts.append(tag("p", f"In every circuit: {names}."))
    head = ("node", "circuits")
    listed = table("Nodes and their share of circuits", head, rows, sortable=True)
    return [*parts, tag("details", tag("summary", caption), listed)]


def _two_hop(hops: TwoHop) -> list[Html]:
    first, second = hops.parts
    text = (
        f"Share of the circuits of the single questions, {first} and {second}, that is also in the circuit "
        f"of the composed question, {hops.whole}"
    )
    chance = len(hops.random)
    plural = "s" if chance != 1 else ""
    text += (
        f", compared with {chance:,} random connected circuit{plural} of the same size." if chance else "."
    )
    contained = {
        first: hops.of_parts[0],
        second: hops.of_parts[1],
        "both together": hops.of_both,
    }
    rows = [(name, *(number(getattr(each, level)) for level in LEVELS)) for name, each in contained.items()]
    if chance:
        rows.append(("both, in random circuits", *(_range(hops.random, level) for level in LEVELS)))
        rows.append(("p of both", *(number(hops.p_value(level)) for level in LEVELS)))
    caption = f"Share that is also in {hops.whole}"
    return [tag("h3", "Two hops"), tag("p", text), table(caption, ("", *LEVELS), rows)]


def _range(random: Sequence[Containment], level: str) -> str:
    values = [getattr(each, level) for each in random]
    return f"{number(fmean(values))} ({number(min(values))} to {number(max(values))})"
