"""Picture of a knockout: what the model forgets, and side effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kcircuits.analysis.knockout.results import Knockout
from kcircuits.display.figures import BLUE, GREY, ORANGE, add_title, save_figure
from kcircuits.display.result import Panels, add_legend
from kcircuits.display.text import printable
from kcircuits.evaluation import RunMeasures
from kcircuits.runtime.optional import DeferredModule

if TYPE_CHECKING:
    from matplotlib import ticker
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    ticker = DeferredModule("matplotlib.ticker", "pictures")

_RUNS = (("full model", BLUE), ("without the circuit", ORANGE), ("without random circuits", GREY))
_WIDTH = 0.26


def draw_knockout(found: Knockout, path: str | Path) -> None:
    """Draw a knockout into a .svg, .png or .pdf file, atomically.

    Bars for the full model, the model without the circuit, and the model without random circuits (mean, with
    a line over the range): Hit@k and NLL of the answer on the circuit's own prompts and others, and the
    perplexity of the text on a logarithmic axis.

    Raises
    ------
    KCircuitsError
        If the name ends otherwise, or the place cannot be written.
    """
    width = 4.2 + 0.9 * len(found.effects) + (1.6 if found.text else 0)
    save_figure(lambda figure: _draw(figure, found), path, (min(width, 14.0), 3.6))


def _draw(figure: Figure, found: Knockout) -> None:
    count = len(found.effects)
    ratios = [count, count, 1] if found.text else [count, count]
    axes = figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0]
    for each, draw in zip(axes, (_draw_hits, _draw_nll, _draw_perplexity), strict=False):
        draw(each, found)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    settings = found.settings
    removed, of = settings["num_removed_edges"], settings["num_circuit_edges"]
    text = f"{removed:,} of {of:,} edges removed, {settings['ablation']} ablation"
    add_title(figure, found.model, text, longest=100)


def _draw_hits(axes: Axes, found: Knockout) -> None:
    hit_k = found.settings["hit_k"]
    _draw_measure(axes, found, f"Hit@{hit_k}", lambda run: run.hit_at(hit_k))
    axes.set_ylim(0, 1.02)


def _draw_nll(axes: Axes, found: Knockout) -> None:
    _draw_measure(axes, found, "NLL of the answer", lambda run: run.mean_metric)


def _draw_measure(axes: Axes, found: Knockout, title: str, read: Callable[[RunMeasures], float]) -> None:
    """A measure on each set of prompts."""
    names = [printable(effect.name, 18) for effect in found.effects]
    _draw_bars(axes, [list(map(read, effect.runs)) for effect in found.effects], names, title)


def _draw_perplexity(axes: Axes, found: Knockout) -> None:
    text = found.text
    assert text is not None
    _draw_bars(axes, [text.runs], [f"text, {text.num_tokens:,} tokens"], "perplexity")
    axes.set_yscale("log")
    axes.set_ylim(bottom=1)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:,.0f}" if y < 1e5 else f"{y:.0e}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


PANELS: Panels = {
    "hit": add_legend(_draw_hits),
    "nll": add_legend(_draw_nll),
    "perplexity": add_legend(_draw_perplexity),
}


def _draw_bars(axes: Axes, groups: Sequence[Sequence[float]], names: list[str], title: str) -> None:
    """Groups of bars: the full model, the knockout, and the mean of the random knockouts."""
    places = np.arange(len(groups))
    full, without = ([group[index] for group in groups] for index in (0, 1))
    heights = [full, without]
    if len(groups[0]) > 2:
        heights.append([float(np.mean(group[2:])) for group in groups])
    for number, values in enumerate(heights):
        label, colour = _RUNS[number]
        axes.bar(places + (number - 1) * _WIDTH, values, _WIDTH * 0.92, color=colour, label=label)
    if len(heights) > 2:
        ends = np.array([[min(group[2:]), max(group[2:])] for group in groups])
        axes.vlines(places + _WIDTH, ends[:, 0], ends[:, 1], color="#222222", linewidth=1.2)
    several = len(names) > 1
    axes.set_xticks(places, names, rotation=30 if several else 0, ha="right" if several else "center")
    axes.set_ylim(bottom=0)
    axes.set_title(title, fontsize=9)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
