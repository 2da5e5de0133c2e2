"""Plot a check of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcircuits.checking.check import ModelCheck
from kcircuits.checking.comparison import TOLERANCE
from kcircuits.display.figures import BLUE
from kcircuits.display.result import Panels
from kcircuits.display.text import printable
from kcircuits.errors import KCircuitsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALLEST = 1e-9  # lower limit of a logarithmic axis


def draw_differences(axes: Axes, check: ModelCheck) -> None:
    """The largest difference of two log-probabilities in every prompt, and the tolerance.

    Raises KCircuitsError if nothing was compared.
    """
    if check.comparison is None:
        raise KCircuitsError("there is nothing to draw: no logits were compared")
    differences = check.comparison.differences
    places = range(len(differences))
    axes.bar(places, [max(each.largest, _SMALLEST) for each in differences], width=0.6, color=BLUE)
    axes.axhline(TOLERANCE, color="#333333", linewidth=0.8, linestyle=(0, (4, 3)))
    names = [
        f"random, {each.num_tokens}" if each.text is None else printable(each.text, 16)
        for each in differences
    ]
    axes.set_xticks(places, names, rotation=30, ha="right")
    axes.set_yscale("log")
    axes.set_ylabel("largest difference of log-probabilities")


PANELS: Panels = {"differences": draw_differences}
