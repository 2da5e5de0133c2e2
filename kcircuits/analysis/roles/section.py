"""Roles of heads, MLPs that raise the answer, and the effect of ablating a role."""

from __future__ import annotations

from collections.abc import Sequence

from kcircuits.analysis.ablations import HeadAblation
from kcircuits.analysis.roles.results import HeadRole, MlpWrite, Roles
from kcircuits.display.html import Html, section, table, tag
from kcircuits.display.numbers import number


def roles_section(roles: Roles) -> Html:
    """The section about roles."""
    text = (
        "A head's role depends on the source tokens of its contribution to the answer's logit. The ratio of "
        "the contribution from the subject to that from the relation is above 10 for a mover, below 0.1 for "
        "a relation head, and in between for a mixture."
    )
    parts = [tag("p", text), _heads(roles.heads)]
    if roles.mlps:
        parts.append(_mlps(roles.mlps))
    if roles.ablations:
        parts.append(_ablations(roles.ablations))
    return section("roles", "Roles of the heads", *parts)


def _heads(heads: Sequence[HeadRole]) -> Html:
    head = ("head", "role", "ratio", "95 % interval", "from the subject", "from the relation")
    rows = [
        (
            each.node,
            each.role,
            number(each.ratio, ".3g"),
            _interval_text(each.low, each.high),
            *(number(write, "+.3f") for write in each.mean_writes),
        )
        for each in heads
    ]
    return table("Heads and their roles", head, rows, sortable=True)


def _mlps(mlps: Sequence[MlpWrite]) -> Html:
    rows = [(each.node, number(each.logit, "+.3f"), _interval_text(each.low, each.high)) for each in mlps]
    return table("MLPs that raise the answer", ("MLP", "logit", "95 % interval"), rows, sortable=True)


def _ablations(ablations: Sequence[HeadAblation]) -> Html:
    head = ("without", "heads", "metric", "Hit", "metric without random heads")
    rows = []
    for each in ablations:
        low, mean, high = each.random["metric"]
        chance = f"{number(mean)} ({number(low)} to {number(high)})"
        rows.append(
            (each.name, ", ".join(each.heads), number(each.means.metric), number(each.means.hit), chance)
        )
    return table("Effect of ablating the heads of a role", head, rows)


def _interval_text(low: float, high: float) -> str:
    return f"{number(low, '.3g')} to {number(high, '.3g')}"
