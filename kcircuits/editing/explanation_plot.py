"""Picture of an edit's explanation: ranks of both objects before and after, and the nodes that change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcircuits.display.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    add_title,
    label_layers,
    save_figure,
    scale_ranks,
)
from kcircuits.display.result import Panels, add_legend
from kcircuits.display.text import printable
from kcircuits.editing.changes import BeforeAfter
from kcircuits.editing.explanation import Explanation
from kcircuits.graph import layer_of
from kcircuits.runtime.optional import DeferredModule

if TYPE_CHECKING:
    from matplotlib import ticker
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    ticker = DeferredModule("matplotlib.ticker", "pictures")

MOST_NODES = 12
_PLACES = {"subject": "subject's last token", "last": "last position"}
_KINDS = {
    "edited": BLACK,
    "later heads": PURPLE,
    "later MLPs": GREEN,
    "untouched": GREY,
    "constants": SKY,
}


def draw_explanation(explanation: Explanation, path: str | Path) -> None:
    """Draw an explanation into a .svg, .png or .pdf file, atomically.

    Ranks of both objects over layers at the subject's last token and at the last position (dashed: before the
    edit), with the edited layers marked, and the nodes whose direct contribution to logit(new) − logit(old)
    changes most.

    Raises
    ------
    KCircuitsError
        If the name ends otherwise, or the place cannot be written.
    """
    save_figure(lambda figure: _draw(figure, explanation), path, (10.5, 3.6))


def _draw(figure: Figure, found: Explanation) -> None:
    left = figure.add_subplot(1, 3, 1)
    middle, right = figure.add_subplot(1, 3, 2, sharey=left), figure.add_subplot(1, 3, 3)
    new, old = _objects(found)
    _draw_place(left, found, "subject")
    _draw_place(middle, found, "last")
    left.invert_yaxis()  # of both
    _draw_nodes(right, found)
    lines = left.get_lines()
    figure.legend(
        lines, [str(line.get_label()) for line in lines], loc="outside lower center", ncols=5, frameon=False
    )
    text = f"{printable(''.join(found.prompt.tokens), 60)} → {new}, not {old}"
    add_title(figure, found.model, text, longest=120)


def _objects(found: Explanation) -> tuple[str, str]:
    """Names of the new and the old object."""
    return printable(found.prompt.answer.strip(), 20), printable((found.prompt.wrong or "").strip(), 20)


def _draw_place(axes: Axes, found: Explanation, place: str) -> None:
    """Ranks of both objects at the "subject"'s last token or at the "last" position, the best rank below."""
    for curves, colour, name in zip((found.new, found.old), (ORANGE, BLUE), _objects(found), strict=True):
        _draw_ranks(axes, curves, place, colour, name)
    _label_ranks(axes, found.edited_nodes, _PLACES[place])


def _place(place: str) -> Callable[[Axes, Any], None]:
    def draw(axes: Axes, found: Explanation) -> None:
        _draw_place(axes, found, place)
        axes.invert_yaxis()

    return draw


def _draw_ranks(axes: Axes, curves: BeforeAfter, place: str, colour: str, name: str) -> None:
    for when, style in (("before", "--"), ("after", "-")):
        rank = getattr(getattr(curves, when), place).rank
        axes.plot(
            range(len(rank)), rank, color=colour, linestyle=style, linewidth=1.4, label=f"{name}, {when}"
        )


def _label_ranks(axes: Axes, edited: tuple[str, ...], title: str) -> None:
    # An edit of layer l is visible after l + 1 layers.
    for number, layer in enumerate(sorted({layer_of(node) or 0 for node in edited})):
        label = "_nolegend_" if number else "edited layers"
        axes.axvline(layer + 1, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), label=label)
    scale_ranks(axes)
    label_layers(axes)
    axes.set_title(title, fontsize=9)
    axes.set_ylabel("rank")


def _draw_nodes(axes: Axes, found: Explanation) -> None:
    strongest = sorted(found.changes, key=lambda each: -abs(each.change))[:MOST_NODES]
    for kind, colour in _KINDS.items():
        some = [(place, each.change) for place, each in enumerate(strongest) if each.kind == kind]
        if some:
            axes.barh(*zip(*some, strict=True), color=colour, label=kind)
    axes.set_yticks(range(len(strongest)), [each.node for each in strongest])
    axes.invert_yaxis()
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.set_xlabel("change of logit(new) − logit(old)")
    axes.legend(frameon=False, fontsize=8)


PANELS: Panels = {
    "last": add_legend(_place("last")),
    "subject": add_legend(_place("subject")),
    "nodes": _draw_nodes,
}
