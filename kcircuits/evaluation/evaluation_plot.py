"""An evaluation as a picture: the circuit's faithfulness beside that of what it leaves out and of chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcircuits.display.figures import BLUE, GREY, ORANGE
from kcircuits.display.result import Panels
from kcircuits.evaluation.evaluation import Evaluation
from kcircuits.evaluation.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_faithfulness(axes: Axes, evaluation: Evaluation) -> None:
    """Bars for circuit and complement with their bootstrap intervals, and a point per random circuit.

    Lines mark the full model (1) and no edges (0). A ratio that does not exist has no bar.
    """
    bars = [
        ("circuit", evaluation.faithfulness, evaluation.faithfulness_interval, BLUE),
        ("without the circuit", evaluation.completeness, evaluation.completeness_interval, ORANGE),
    ]
    for place, (_, value, interval, colour) in enumerate(bars):
        if value is not None:
            axes.bar(place, value, width=0.6, color=colour, yerr=_error(value, interval), capsize=3)
    names = [name for name, *_ in bars]
    known = [value for value in evaluation.random_faithfulness if value is not None]
    if known:
        axes.scatter([len(bars)] * len(known), known, color=GREY, s=18, zorder=3)
        names.append(f"random circuits ({len(known)})")
    axes.set_xticks(range(len(names)), names)
    for height in (0.0, 1.0):
        axes.axhline(height, color="#333333", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_ylabel("faithfulness")
    count = evaluation.num_prompts
    axes.set_title(
        f"{evaluation.num_edges:,} edges, {count:,} prompt{'s' if count != 1 else ''}, "
        f"{evaluation.ablation} ablation, {evaluation.metric}",
        fontsize=9,
    )


def _error(value: float, interval: Interval | None) -> list[list[float]] | None:
    """How far the interval reaches below and above a value; the value itself may lie outside of it."""
    return None if interval is None else [[max(0.0, value - interval.low)], [max(0.0, interval.high - value)]]


PANELS: Panels = {"faithfulness": draw_faithfulness}
