"""Plot of faithfulness over circuit sizes, with one line per method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcircuits.display.figures import save_figure, svg_of
from kcircuits.display.result import Panels
from kcircuits.display.text import printable
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.optional import DeferredModule
from kcircuits.sizes import MethodCurve, SizeComparison

if TYPE_CHECKING:
    from matplotlib import ticker
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    ticker = DeferredModule("matplotlib.ticker", "pictures")

# Colours after Okabe and Ito, which colour-blind readers can distinguish; markers also differ.
_STYLES = {
    "acdc": ("#d55e00", "o"),
    "edge-pruning": ("#cc79a7", "D"),
    "eap": ("#56b4e9", "s"),
    "eap-ig-inputs": ("#0072b2", "^"),
    "eap-ig-activations": ("#009e73", "v"),
    "clean-corrupted": ("#b8860b", "<"),
    "ifr": ("#5d3a9b", ">"),
    "exact": ("#000000", "*"),
    "relp": ("#994f00", "P"),
    "random": ("#7a7a7a", "x"),
}
_OTHER_STYLE = ("#444444", "h")
_LOWEST, _HIGHEST = -0.75, 2.0
"""Limits of the axis: outliers would flatten all other lines."""

_SIZE = (6.4, 4.4)


def draw_sizes(comparison: SizeComparison, path: str | Path) -> None:
    """Draw a comparison into a .svg, .png or .pdf file, atomically, as described in `sizes_svg`.

    Raises
    ------
    KCircuitsError
        If the name has another ending, there is nothing to draw, or the file cannot be written.
    """
    save_figure(lambda figure: _draw_figure(figure, comparison), path, _SIZE)


def sizes_svg(comparison: SizeComparison) -> str:
    """The picture as SVG. The same comparison gives the same text.

    Horizontal: share of the graph's edges, and their number, on a logarithmic axis, without empty circuits.
    Vertical: faithfulness, with lines at 1 (the full model) and 0 (no edges). Random circuits have a band
    over their range.
    """
    return svg_of(lambda figure: _draw_figure(figure, comparison), _SIZE)


def draw_faithfulness(axes: Axes, comparison: SizeComparison) -> None:
    """Draw the plot of `sizes_svg` with its legend into axes.

    Raises KCircuitsError if no method has a circuit with edges.
    """
    _draw(axes, comparison)
    axes.legend(frameon=False, fontsize=8)


PANELS: Panels = {"faithfulness": draw_faithfulness}


def _draw_figure(figure: Figure, comparison: SizeComparison) -> None:
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(True)
    _draw(axes, comparison)
    figure.legend(loc="outside lower center", ncols=min(4, max(1, len(axes.get_lines()))), frameon=False)


def _draw(axes: Axes, comparison: SizeComparison) -> None:
    total = comparison.num_graph_edges
    sizes = [point.num_edges for curve in comparison.curves for point in curve.points if point.num_edges]
    if not sizes:
        raise KCircuitsError("there is nothing to draw: no method has a circuit with edges")
    for height in (0.0, 1.0):
        axes.axhline(height, color="#333333", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for curve in comparison.curves:
        _draw_curve(axes, curve, total)
    axes.set_xscale("log")
    axes.set_xlim(min(sizes) / total / 1.25, 1.25)
    axes.set_ylim(*_heights(comparison))
    _label(axes, comparison)


def _draw_curve(axes: Axes, curve: MethodCurve, total: int) -> None:
    points = sorted((point for point in curve.points if point.num_edges), key=lambda each: each.num_edges)
    shares = [point.num_edges / total for point in points]
    colour, marker = _STYLES.get(curve.name, _OTHER_STYLE)
    axes.plot(
        shares,
        [point.faithfulness for point in points],
        color=colour,
        marker=marker,
        markersize=5,
        linewidth=1.4,
        linestyle="--" if curve.name == "random" else "-",
        label=printable(curve.name, 30).lstrip("_"),  # a label that begins with "_" would not be shown
        zorder=2 if curve.name == "random" else 3,
    )
    spread = [(share, *point.spread) for share, point in zip(shares, points, strict=True) if point.spread]
    if spread:
        across, low, high = zip(*spread, strict=True)
        axes.fill_between(across, low, high, color=colour, alpha=0.2, linewidth=0, zorder=1.5)


def _heights(comparison: SizeComparison) -> tuple[float, float]:
    """Limits of the axis: all points, 0 and 1, but no outliers."""
    heights = [point.faithfulness for curve in comparison.curves for point in curve.points]
    low, high = max(_LOWEST, min(0.0, *heights)), min(_HIGHEST, max(1.0, *heights))
    room = 0.06 * (high - low)
    return low - room, high + room


def _edges_of_shares(total: int) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    return (lambda share: share * total), (lambda edges: edges / total)


def _label(axes: Axes, comparison: SizeComparison) -> None:
    total, settings = comparison.num_graph_edges, comparison.settings
    low, high = axes.get_ylim()
    heights = [point.faithfulness for curve in comparison.curves for point in curve.points]
    outside = sum(not low <= height <= high for height in heights)
    axes.set_ylabel("faithfulness" + (f" ({outside} outside the picture)" if outside else ""))
    axes.set_xlabel("share of the model's edges")
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    above = axes.secondary_xaxis("top", functions=_edges_of_shares(total))
    above.set_xlabel("edges")
    above.xaxis.set_major_formatter(ticker.FuncFormatter(lambda edges, _: f"{edges:,.0f}"))
    for axis in (axes.xaxis, above.xaxis):
        axis.set_major_locator(ticker.LogLocator(base=10))
        axis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    name, prompts = comparison.model.get("name", "a model"), settings.get("num_prompts")
    how = [f"{prompts} prompts"] if type(prompts) is int else []
    how += [f"{settings['ablation']} ablation"] if "ablation" in settings else []
    how += [str(settings["metric"])] if "metric" in settings else []
    axes.set_title(" · ".join(printable(part, 40) for part in (name, *how)), fontsize=9)
