"""One value per head and MLP as a heat map: a row per layer, a column per head, and a column for the MLPs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kcircuits.runtime.optional import DeferredModule

if TYPE_CHECKING:
    from matplotlib import ticker
    from matplotlib.axes import Axes
else:
    ticker = DeferredModule("matplotlib.ticker", "pictures")


def draw_node_grid(axes: Axes, grid: np.ndarray, title: str) -> None:
    """Draw values, float [L, H + 1], into axes: blue below 0, red above 0, empty for NaN."""
    num_heads = grid.shape[1] - 1
    known = np.abs(grid[np.isfinite(grid)])
    largest = float(known.max(initial=0)) or 1.0
    image = axes.imshow(
        grid,
        cmap="RdBu_r",
        vmin=-largest,
        vmax=largest,
        aspect="auto",
        origin="lower",
        interpolation="none",
    )
    axes.axvline(num_heads - 0.5, color="#333333", linewidth=0.8)
    shown = range(0, num_heads, max(1, num_heads // 8))
    axes.set_xticks([*shown, num_heads], [*map(str, shown), "MLP"])
    axes.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    axes.set_title(title, fontsize=9)
    axes.figure.colorbar(image, ax=axes, shrink=0.8)
