"""Which heads and MLPs write the answer, and where the strongest heads look, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kcircuits.analysis.heads import HeadReadings
from kcircuits.optional import Deferred
from kcircuits.report.figures import save_figure
from kcircuits.report.text import printable

if TYPE_CHECKING:
    from matplotlib import ticker
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    ticker = Deferred("matplotlib.ticker", "pictures")

MOST_HEADS = 12
MOST_TOKENS = 24


def draw_heads(heads: HeadReadings, path: str | Path) -> None:
    """Draw readings into a .svg, .png or .pdf file, atomically.

    Left: what every head and MLP adds to the answer's logit at the last position, mean over prompts. Right:
    where the strongest of the heads that were read look from the first prompt's last position.

    Raises
    ------
    KCircuitsError
        If the name ends otherwise, or the place cannot be written.
    """
    save_figure(lambda figure: _draw(figure, heads), path, (7.2, 4.2))


def _draw(figure: Figure, heads: HeadReadings) -> None:
    left, right = figure.subplots(1, 2)
    _draw_logits(figure, left, heads)
    _draw_attention(figure, right, heads)
    count = len(heads.prompts)
    text = heads.prompts[0]
    what = f"{count} prompts" if count > 1 else f"{''.join(text.tokens)} → {text.answer.strip()}"
    name = printable(heads.model.get("name", "a model"), 40)
    figure.suptitle(f"{name} · {printable(what, 70)}", fontsize=9)


def _draw_logits(figure: Figure, axes: Axes, heads: HeadReadings) -> None:
    graph = heads.graph
    by_layer = heads.direct.mean(axis=1)[1:].reshape(graph.num_layers, graph.num_heads + 1)
    largest = float(np.abs(by_layer).max()) or 1.0
    image = axes.imshow(
        by_layer,
        cmap="RdBu_r",
        vmin=-largest,
        vmax=largest,
        aspect="auto",
        origin="lower",
        interpolation="none",
    )
    axes.axvline(graph.num_heads - 0.5, color="#333333", linewidth=0.8)
    shown = range(0, graph.num_heads, max(1, graph.num_heads // 8))
    axes.set_xticks([*shown, graph.num_heads], [*map(str, shown), "MLP"])
    axes.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    axes.set_title("written to the answer's logit", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.8)


def _draw_attention(figure: Figure, axes: Axes, heads: HeadReadings) -> None:
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
    figure.colorbar(image, ax=axes, shrink=0.8)
