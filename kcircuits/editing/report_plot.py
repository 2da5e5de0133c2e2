"""Picture of the measures of edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcircuits.display.figures import BLUE, GREY
from kcircuits.display.result import Panels, add_legend
from kcircuits.editing.report import EditReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NO_SHARES = ("magnitude", "fluency")


def draw_means(axes: Axes, report: EditReport) -> None:
    """Draw means over edits of all measures that are shares, after the edit and, if measured, before it."""
    means = {
        name: value for name, value in report.means.items() if value is not None and name not in _NO_SHARES
    }
    before = report.means_before or {}
    places = range(len(means))
    earlier = [(place, value) for place, name in enumerate(means) if (value := before.get(name)) is not None]
    if earlier:
        axes.bar(
            [place - 0.2 for place, _ in earlier],
            [value for _, value in earlier],
            width=0.38,
            color=GREY,
            label="before",
        )
    offset = 0.2 if earlier else 0.0
    axes.bar(
        [place + offset for place in places], list(means.values()), width=0.38, color=BLUE, label="after"
    )
    axes.set_xticks(places, list(means), rotation=30, ha="right")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("mean over edits")
    axes.set_title(f"{report.settings.get('method', '')}, {len(report.requests):,} edits", fontsize=9)


PANELS: Panels = {"means": add_legend(draw_means)}
