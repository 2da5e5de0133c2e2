"""Picture of a comparison of circuits: their overlap and their frequency by layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kcircuits.analysis.comparison.results import ALL, Comparison
from kcircuits.display.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, add_title, save_figure
from kcircuits.display.result import Panels, add_legend
from kcircuits.display.text import printable
from kcircuits.runtime.optional import DeferredModule

if TYPE_CHECKING:
    from matplotlib import ticker
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
else:
    ticker = DeferredModule("matplotlib.ticker", "pictures")

MOST_NUMBERS = 8
"""With more circuits, the cells are too small for numbers."""
MOST_NAMES = 24
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK, GREY)
_STYLES = ("-", "--", ":")
_MATRICES = {
    "node_overlap": "nodes: shared / either",
    "edge_overlap": "edges: shared / either",
    "reverse_overlap": "nodes: shared / column",
}


def draw_comparison(comparison: Comparison, path: str | Path) -> None:
    """Draw a comparison into a .svg, .png or .pdf file, atomically.

    Above: overlap of nodes and of edges, and the share of the column's nodes that are also in the row. Below:
    how often the heads and the MLP of each layer are in the circuits of each domain.

    Raises
    ------
    KCircuitsError
        If the name ends otherwise, or the place cannot be written.
    """
    save_figure(lambda figure: _draw(figure, comparison), path, (9.6, 5.6))


def _draw(figure: Figure, comparison: Comparison) -> None:
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    above, below = parts
    axes = above.subplots(1, 3)
    for each, name in zip(axes, _MATRICES, strict=True):
        image = _draw_matrix(each, comparison, name, named=each is axes[0])
    above.colorbar(image, ax=axes, shrink=0.8)
    left, right = below.subplots(1, 2, sharey=True)
    _draw_heads(left, comparison)
    _draw_mlps(right, comparison)
    left.set_ylabel("share of circuits")
    if list(comparison.frequency) != [ALL]:
        below.legend(*left.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    add_title(figure, comparison.model, f"{len(comparison.circuits)} circuits")


def _draw_matrix(axes: Axes, comparison: Comparison, name: str, *, named: bool = True) -> AxesImage:
    """One of the overlaps; `named`: with the circuits' names next to the rows."""
    values, title = getattr(comparison, name), _MATRICES[name]
    names = [printable(circuit.name, 14) for circuit in comparison.circuits]
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, interpolation="none")
    _label_cells(axes, values, names if named else None, names)
    axes.set_title(title, fontsize=9)
    return image


def _matrix(name: str) -> Callable[[Axes, Any], None]:
    def draw(axes: Axes, comparison: Comparison) -> None:
        axes.figure.colorbar(_draw_matrix(axes, comparison, name), ax=axes, shrink=0.8)

    return draw


def _label_cells(axes: Axes, values: np.ndarray, rows: list[str] | None, columns: list[str]) -> None:
    count = len(columns)
    if count <= MOST_NAMES:
        axes.set_xticks(range(count), columns, rotation=60, ha="right", fontsize=7)
        axes.set_yticks(range(count), rows or [""] * count, fontsize=7)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if count <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value > 0.6 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)


def _draw_heads(axes: Axes, comparison: Comparison) -> None:
    _draw_layers(axes, comparison, 0)
    axes.set_title("heads, mean of the layer", fontsize=9)


def _draw_mlps(axes: Axes, comparison: Comparison) -> None:
    _draw_layers(axes, comparison, 1)
    axes.set_title("MLP", fontsize=9)


PANELS: Panels = {
    "nodes": _matrix("node_overlap"),
    "edges": _matrix("edge_overlap"),
    "shares": _matrix("reverse_overlap"),
    "heads": add_legend(_draw_heads),
    "mlps": add_legend(_draw_mlps),
}


def _draw_layers(axes: Axes, comparison: Comparison, column: int) -> None:
    for number, (domain, rows) in enumerate(comparison.frequency.items()):
        axes.plot(
            rows[:, column],
            color=_COLOURS[number % len(_COLOURS)],
            linestyle=_STYLES[number // len(_COLOURS) % len(_STYLES)],
            marker=".",
            linewidth=1.2,
            label=printable(domain, 24).lstrip("_"),  # a label that begins with "_" would not be shown
        )
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
