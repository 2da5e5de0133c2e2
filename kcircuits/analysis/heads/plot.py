"""Picture of the heads and MLPs that write the answer, and of the strongest heads' attention."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kcircuits.analysis.heads.results import HeadReadings
from kcircuits.display.figures import add_title, save_figure
from kcircuits.display.node_grid import draw_node_grid
from kcircuits.display.result import Panels
from kcircuits.display.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_HEADS = 12
MOST_TOKENS = 24


def draw_heads(heads: HeadReadings, path: str | Path) -> None:
    """Draw readings into a .svg, .png or .pdf file, atomically.

    Left: what each head and MLP adds to the answer's logit at the last position, mean over prompts. Right:
    attention of the strongest heads from the last position of the first prompt.

    Raises
    ------
    KCircuitsError
        If the name ends otherwise, or the place cannot be written.
    """
    save_figure(lambda figure: _draw(figure, heads), path, (7.2, 4.2))


def _draw(figure: Figure, heads: HeadReadings) -> None:
    left, right = figure.subplots(1, 2)
    _draw_logits(left, heads)
    _draw_attention(right, heads)
    count = len(heads.prompts)
    text = heads.prompts[0]
    what = f"{count} prompts" if count > 1 else f"{''.join(text.tokens)} → {text.answer.strip()}"
    add_title(figure, heads.model, what)


def _draw_logits(axes: Axes, heads: HeadReadings) -> None:
    graph = heads.graph
    by_layer = graph.by_layer(heads.logits())
    draw_node_grid(axes, by_layer, "added to the answer's logit")


def _draw_attention(axes: Axes, heads: HeadReadings) -> None:
    text = heads.prompts[0]
    last = len(text.tokens) - 1
    looking = [each for each in heads.readings[0] if each.attention is not None and each.position == last]
    if not looking:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no heads were read", ha="center", va="center", color="#555555")
        return
    strongest = looking[:MOST_HEADS]
    tokens = text.tokens[-MOST_TOKENS:]
    weights = np.array([each.attention for each in strongest])[:, -len(tokens) :]
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="none")
    axes.set_xticks(range(len(tokens)), [printable(token, 14) for token in tokens], rotation=60, ha="right")
    axes.set_yticks(range(len(strongest)), [f"{each.node} {each.logit:+.2f}" for each in strongest])
    which = ", first prompt" if len(heads.prompts) > 1 else ""
    axes.set_title(f"attention from the last position{which}", fontsize=9)
    axes.figure.colorbar(image, ax=axes, shrink=0.8)


PANELS: Panels = {"logits": _draw_logits, "attention": _draw_attention}
