"""Picture of the roles of heads: contributions from subject and relation, and effects of ablation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kcircuits.analysis.roles.results import MOVER, RELATION, ROLES, Roles
from kcircuits.display.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    add_title,
    draw_panels,
    draw_random_bar,
    save_figure,
)
from kcircuits.display.result import Panels, add_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 0.12
"""Heads closer to the centre than this share of the axes' range get no name."""

_STYLES = {"mover": (BLUE, "o"), "relation": (ORANGE, "s"), "mixture": (GREEN, "^")}


def draw_roles(roles: Roles, path: str | Path) -> None:
    """Draw roles into a .svg, .png or .pdf file, atomically.

    Left: what each head adds to the answer's logit from the relation's words (horizontal) and from the
    subject (vertical), mean over prompts. Dotted lines separate roles. Right: the metric without the heads of
    each role, compared with the same number of random heads of the same layers (mean and range).

    Raises
    ------
    KCircuitsError
        If the name ends otherwise, or the place cannot be written.
    """
    save_figure(lambda figure: _draw(figure, roles), path, (7.2, 3.6))


def _draw(figure: Figure, roles: Roles) -> None:
    draw_panels(figure, _draw_writes, _draw_ablations, roles, legend_columns=5)
    add_title(figure, roles.model, f"{roles.settings['num_prompts']} prompts")


def _draw_writes(axes: Axes, roles: Roles) -> None:
    points = {head.node: (*head.mean_writes[::-1], head.role) for head in roles.heads}
    for role in ROLES:
        of = [point[:2] for point in points.values() if point[2] == role]
        colour, marker = _STYLES[role]
        xs, ys = zip(*of, strict=True) if of else ((), ())
        axes.scatter(xs, ys, color=colour, marker=marker, s=22, label=f"{role} heads", zorder=3)
    reach = 1.15 * max([abs(value) for point in points.values() for value in point[:2]], default=1.0)
    for node, point in points.items():
        if max(map(abs, point[:2])) > NAMED * reach:
            axes.annotate(node, point[:2], xytext=(4, 3), textcoords="offset points", fontsize=7)
    for slope in (MOVER, RELATION, -MOVER, -RELATION):
        axes.axline((0, 0), slope=slope, color="#999999", linewidth=0.7, linestyle=":", zorder=1)
    axes.axhline(0, color="#333333", linewidth=0.6, zorder=1)
    axes.axvline(0, color="#333333", linewidth=0.6, zorder=1)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_xlabel("logit from the relation's words")
    axes.set_ylabel("logit from the subject")


def _draw_ablations(axes: Axes, roles: Roles) -> None:
    full = roles.full.metric
    axes.axhline(full, color="#333333", linewidth=0.8, linestyle=(0, (4, 3)), label="full model")
    for place, ablation in enumerate(roles.ablations):
        colour, _ = _STYLES[ablation.name]
        axes.bar(place - 0.2, ablation.means.metric, width=0.36, color=colour)
        label = "random heads" if place == 0 else None
        draw_random_bar(axes, place + 0.2, ablation.random["metric"], width=0.36, colour=GREY, label=label)
    names = [f"{ablation.name}\n({len(ablation.heads)})" for ablation in roles.ablations]
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel(f"nll without them ({roles.settings['ablation']} ablation)")


PANELS: Panels = {"writes": add_legend(_draw_writes), "ablations": add_legend(_draw_ablations)}
