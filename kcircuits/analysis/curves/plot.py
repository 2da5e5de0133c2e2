"""Picture of the answer's rank and probability over layers, in the full model and in the circuit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kcircuits.analysis.bands import Band
from kcircuits.analysis.curves.results import Curves
from kcircuits.display.figures import BLUE, ORANGE, add_title, label_layers, save_figure, scale_ranks
from kcircuits.display.result import Panels, add_legend
from kcircuits.runtime.optional import DeferredModule

if TYPE_CHECKING:
    from matplotlib import ticker
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    ticker = DeferredModule("matplotlib.ticker", "pictures")

_RUNS = {"full": ("-", "full model"), "circuit": ("--", "circuit")}
_RANKS = {"rank": (BLUE, "last position"), "subject_best_rank": (ORANGE, "subject")}
_PROBABILITIES = {
    "probability": (BLUE, "last position"),
    "subject_last_probability": (ORANGE, "subject"),
}


def draw_curves(curves: Curves, path: str | Path) -> None:
    """Draw curves into a .svg, .png or .pdf file, atomically.

    Left: rank of the answer on a logarithmic axis, the best on top, at the last position, and the best rank
    over the subject's tokens. Right: its probability at the last position and at the subject's last token.
    Means over prompts with bootstrap bands. The circuit is dashed.

    Raises
    ------
    KCircuitsError
        If the name ends otherwise, or the place cannot be written.
    """
    save_figure(lambda figure: _draw(figure, curves), path, (7.2, 3.4))


def _draw(figure: Figure, curves: Curves) -> None:
    left, right = figure.subplots(1, 2)
    _draw_ranks(left, curves)
    _draw_probabilities(right, curves)
    lines = {str(line.get_label()): line for axes in (left, right) for line in axes.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, frameon=False)
    count = len(curves.prompts)
    what = f"{count} prompts" if count > 1 else "".join(curves.prompts[0].tokens)
    add_title(figure, curves.model, what)


def _draw_ranks(axes: Axes, curves: Curves) -> None:
    _draw_runs(axes, curves, _RANKS)
    _label(axes, "rank of the answer")
    scale_ranks(axes)
    axes.invert_yaxis()


def _draw_probabilities(axes: Axes, curves: Curves) -> None:
    _draw_runs(axes, curves, _PROBABILITIES)
    _label(axes, "probability of the answer")
    axes.set_ylim(bottom=0)


PANELS: Panels = {"rank": add_legend(_draw_ranks), "probability": add_legend(_draw_probabilities)}


def _draw_runs(axes: Axes, curves: Curves, measures: dict[str, tuple[str, str]]) -> None:
    """A line for each available run and measure, with its bootstrap band."""
    for run in curves.runs:
        bands = curves.summary(run)
        style, title = _RUNS[run]
        for name, (colour, label) in measures.items():
            if (band := bands[name]) is not None:
                _draw_band(axes, curves.layers, band, colour, style, f"{label}, {title}")


def _draw_band(axes: Axes, layers: tuple[int, ...], band: Band, colour: str, style: str, label: str) -> None:
    axes.plot(layers, band.mean, color=colour, linestyle=style, linewidth=1.4, label=label)
    if (band.low < band.high).any():
        axes.fill_between(layers, band.low, band.high, color=colour, alpha=0.15, linewidth=0)


def _label(axes: Axes, what: str) -> None:
    label_layers(axes)
    axes.set_ylabel(what)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
