"""How wrong answers overtake right ones, and which nodes decide it, as a picture."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from kcircuits.analysis.bands import bootstrap_band
from kcircuits.analysis.hallucination.results import Hallucinations
from kcircuits.display.figures import BLUE, GREY, ORANGE, add_title, label_layers, save_figure, scale_ranks
from kcircuits.display.result import Panels
from kcircuits.runtime.optional import DeferredModule

if TYPE_CHECKING:
    from matplotlib import ticker
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    ticker = DeferredModule("matplotlib.ticker", "pictures")

MOST_NODES = 8


def draw_hallucinations(found: Hallucinations, path: str | Path) -> None:
    """Draw errors into a .svg, .png or .pdf file, atomically.

    Left: ranks of both answers over layers, geometric means over errors with bootstrap bands, and the median
    layer after which the wrong answer is ahead for good. Right: the nodes that add most to, and subtract most
    from, logit(wrong answer) − logit(right answer); means over errors.

    Raises
    ------
    KCircuitsError
        If the name ends otherwise, or the place cannot be written.
    """
    save_figure(lambda figure: _draw(figure, found), path, (7.2, 3.6))


def _draw(figure: Figure, found: Hallucinations) -> None:
    left, right = figure.subplots(1, 2)
    _draw_ranks(left, found)
    _draw_nodes(right, found)
    count = len(found.errors)
    text = found.errors[0].text
    one = f"{''.join(text.tokens)} → {str(text.wrong).strip()}, not {text.answer.strip()}"
    add_title(figure, found.model, f"{count} errors" if count > 1 else one, 80)


def _draw_ranks(axes: Axes, found: Hallucinations) -> None:
    curves = {
        "right answer": (BLUE, [error.right.rank for error in found.errors]),
        "wrong answer": (ORANGE, [error.wrong.rank for error in found.errors]),
    }
    for label, (colour, ranks) in curves.items():
        band = bootstrap_band(np.array(ranks), seed=0, geometric=True)
        layers = range(len(band.mean))
        axes.plot(layers, band.mean, color=colour, linewidth=1.4, label=label)
        axes.fill_between(layers, band.low, band.high, color=colour, alpha=0.15, linewidth=0)
    overtaken = median(error.overtakes for error in found.errors)
    axes.axvline(overtaken, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), label="overtaken for good")
    scale_ranks(axes)
    axes.invert_yaxis()
    label_layers(axes)
    axes.set_ylabel("rank")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _draw_nodes(axes: Axes, found: Hallucinations) -> None:
    nodes = sorted(found.recurring, key=lambda node: -node.difference)
    shown = [*nodes[:MOST_NODES], *nodes[max(MOST_NODES, len(nodes) - MOST_NODES // 2) :]]
    values = [node.difference for node in shown]
    places = range(len(shown))
    axes.barh(places, values, color=[ORANGE if value > 0 else BLUE for value in values])
    axes.set_yticks(places, [node.node for node in shown])
    axes.invert_yaxis()
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.set_xlabel("logit(wrong) − logit(right)")


PANELS: Panels = {"ranks": _draw_ranks, "nodes": _draw_nodes}
