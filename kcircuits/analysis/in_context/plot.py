"""Picture of in-context learning: attention of the added heads, and accuracy without them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kcircuits.analysis.in_context.results import InContext
from kcircuits.data.few_shot import PARTS
from kcircuits.display.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    add_title,
    draw_panels,
    draw_random_bar,
    save_figure,
)
from kcircuits.display.result import Panels, add_legend
from kcircuits.runtime.optional import DeferredModule

if TYPE_CHECKING:
    from matplotlib import ticker
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    ticker = DeferredModule("matplotlib.ticker", "pictures")

MOST_HEADS = 12
_COLOURS = dict(zip(PARTS, (GREY, SKY, ORANGE, GREEN, BLUE), strict=True))
_TITLES = {
    "start": "first token",
    "example": "rest of examples",
    "object": "objects of examples",
    "separator": "separators",
    "query": "question",
}


def draw_in_context(found: InContext, path: str | Path) -> None:
    """Draw the change by examples into a .svg, .png or .pdf file, atomically.

    Left: attention of the strongest added heads from the last position to each part of the prompt. Right:
    accuracy without and with examples, of the full model, without the added heads, and without the same
    number of random heads (mean and range).

    Raises
    ------
    KCircuitsError
        If the name ends otherwise, or the place cannot be written.
    """
    save_figure(lambda figure: _draw(figure, found), path, (7.2, 3.8))


def _draw(figure: Figure, found: InContext) -> None:
    draw_panels(figure, _draw_attention, _draw_accuracy, found, legend_columns=4)
    add_title(figure, found.model, f"{found.settings['num_prompts']} questions")


def _draw_attention(axes: Axes, found: InContext) -> None:
    heads = found.added[:MOST_HEADS]
    if not heads:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no heads were added", ha="center", va="center", color="#555555")
        return
    places = range(len(heads))
    start = [0.0] * len(heads)
    for part in PARTS:
        widths = [head.attention[part] for head in heads]
        if any(widths):
            axes.barh(places, widths, left=start, color=_COLOURS[part], label=_TITLES[part])
        start = [before + width for before, width in zip(start, widths, strict=True)]
    axes.set_yticks(places, [head.node for head in heads])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{share:.0%}"))
    axes.set_xlabel("attention from the last position")


def _draw_accuracy(axes: Axes, found: InContext) -> None:
    for place, (name, run) in enumerate(found.runs.items()):
        ablation = found.ablations[name]
        accuracy = run.accuracy
        axes.bar(place - 0.27, accuracy, width=0.25, color="#333333", label=_label_first("full model", place))
        if ablation is None:
            continue
        axes.bar(
            place,
            ablation.means.accuracy,
            width=0.25,
            color=PURPLE,
            label=_label_first("without added heads", place),
        )
        random, label = ablation.random["accuracy"], _label_first("without random heads", place)
        draw_random_bar(axes, place + 0.27, random, width=0.25, colour="#bbbbbb", label=label)
    axes.set_xticks(range(len(found.runs)), list(found.runs))
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{share:.0%}"))
    axes.set_ylabel("accuracy")


def _label_first(label: str, place: int) -> str | None:
    return label if place == 0 else None


PANELS: Panels = {"attention": add_legend(_draw_attention), "accuracy": add_legend(_draw_accuracy)}
