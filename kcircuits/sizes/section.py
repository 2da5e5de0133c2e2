"""Methods over circuit sizes: the plot and its numbers."""

from __future__ import annotations

from kcircuits.display.html import Html, scroll_box, section, table, tag
from kcircuits.display.inline_svg import inline_svg
from kcircuits.display.numbers import NOTHING, number
from kcircuits.sizes import LEVELS, MethodCurve, SizeComparison
from kcircuits.sizes.size_plot import sizes_svg


def sizes_section(comparison: SizeComparison) -> Html:
    """The section that compares methods."""
    names = ", ".join(curve.name for curve in comparison.curves)
    settings = comparison.settings
    return section(
        "sizes",
        "Methods over circuit sizes",
        tag(
            "p",
            f"Faithfulness over size for the circuits of each method, measured on the prompts of the search: "
            f"{settings.get('num_prompts', 'unknown')} prompts, {settings.get('ablation', 'unknown')} "
            f"ablation, metric {settings.get('metric', 'unknown')} ({comparison.full:.4g} for the full "
            f"model, {comparison.empty:.4g} without edges). Better methods have lines closer to the upper "
            "left.",
        ),
        _figure(comparison, f"Faithfulness over circuit size for {names}; the tables below have the numbers"),
        _summary(comparison),
        tag("details", tag("summary", "All circuits"), _points(comparison)),
    )


def _figure(comparison: SizeComparison, label: str) -> Html:
    if not any(point.num_edges for curve in comparison.curves for point in curve.points):
        return tag("p", "There is no plot because no method found a circuit.", class_="note")
    drawn = inline_svg(sizes_svg(comparison), label, "sizes-")
    caption = tag(
        "figcaption", "Dashed: the full model (1) and no edges (0). Random circuits: mean and range."
    )
    return tag("figure", scroll_box(drawn, "Plot of methods over circuit sizes"), caption)


def _summary(comparison: SizeComparison) -> Html:
    head = ["method", *(f"edges for {level:g}" for level in LEVELS), "CPR", "CMD", "seconds"]
    rows = [
        (
            curve.name,
            *(_fewest(curve, level) for level in LEVELS),
            number(curve.cpr),
            number(curve.cmd),
            number(curve.seconds, ",.1f"),
        )
        for curve in comparison.curves
    ]
    return table("Methods: fewest edges for a faithfulness, areas, and time of the search", head, rows)


def _fewest(curve: MethodCurve, level: float) -> str:
    edges = curve.fewest_edges(level)
    return NOTHING if edges is None else f"{edges:,}"


def _points(comparison: SizeComparison) -> Html:
    total = comparison.num_graph_edges
    rows = [
        (
            curve.name,
            f"{point.num_edges:,}",
            f"{point.num_edges / total:.3%}",
            number(point.faithfulness),
            NOTHING if point.spread is None else " to ".join(map(number, point.spread)),
            number(point.threshold, ".4g"),
        )
        for curve in comparison.curves
        for point in curve.points
    ]
    return table("All circuits", ("method", "edges", "share", "faithfulness", "range", "threshold"), rows)
