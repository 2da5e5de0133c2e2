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
            "Faithfulness of the circuits that each method finds, over their sizes; prompts: "
            f"{settings.get('num_prompts', 'unknown')}, {settings.get('ablation', 'unknown')} ablation, "
            f"metric {settings.get('metric', 'unknown')} ({comparison.full:.4g} of the full model, "
            f"{comparison.empty:.4g} without edges). The prompts of the search are those of the measure. A "
            "method is the better the further up and to the left its line runs.",
        ),
        _figure(comparison, f"Faithfulness over circuit size for {names}; the tables below have the numbers"),
        _summary(comparison),
        tag("details", tag("summary", "Every circuit"), _points(comparison)),
    )


def _figure(comparison: SizeComparison, label: str) -> Html:
    if not any(point.num_edges for curve in comparison.curves for point in curve.points):
        return tag("p", "There is nothing to draw, as no method has found a circuit.", class_="note")
    drawn = inline_svg(sizes_svg(comparison), label, "sizes-")
    caption = tag(
        "figcaption", "Dashed: the full model (1) and no edges (0). Random circuits: mean and range."
    )
    return tag("figure", scroll_box(drawn, "Plot of methods over sizes"), caption)


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
    return table("Methods: the fewest edges for a faithfulness, the areas, the time to find", head, rows)


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
    return table("Every circuit", ("method", "edges", "share", "faithfulness", "range", "threshold"), rows)
