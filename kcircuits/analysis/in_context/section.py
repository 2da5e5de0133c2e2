"""In-context learning: heads that examples add to the circuit, their attention and their effect."""

from __future__ import annotations

from collections.abc import Sequence

from kcircuits.analysis.in_context.results import ASKED, AddedHead, InContext
from kcircuits.data.few_shot import PARTS, Part
from kcircuits.display.bars import Bar, grouped_bars, stacked_bars
from kcircuits.display.html import Html, section, table, tag
from kcircuits.display.numbers import NOTHING, number, percent

MOST_BARS = 12
PART_TITLES: dict[Part, str] = {
    "start": "first token",
    "example": "rest of examples",
    "object": "objects of examples",
    "separator": "separators",
    "query": "question",
}


def icl_section(found: InContext) -> Html:
    """The section about in-context learning."""
    settings, added = found.settings, found.added
    edges = ", ".join(f"{found.nodes[name].num_edges:,} {name}" for name in ASKED)
    text = (
        f"The same {settings['num_prompts']:,} questions without and with examples, and a circuit for each "
        f"(edges: {edges}); {_heads(len(added))} only in the one with examples. Attention is from the last "
        f"position, mean over questions. Accuracy is that of the full model with and without these heads "
        f"({settings['ablation']} ablation), compared with as many random heads of the same layers."
    )
    charts = [_attention_bars(added)] * bool(added) + [_accuracy_bars(found)]
    parts = [tag("p", text), tag("div", *charts, class_="charts"), _accuracy_table(found)]
    if added:
        parts.append(_added_table(added))
    return section("icl", "In-context learning", *parts)


def _heads(count: int) -> str:
    return "1 head is" if count == 1 else f"{count:,} heads are"


def _attention_bars(added: Sequence[AddedHead]) -> Html:
    rows = [
        (
            each.node,
            [
                Bar(title, part, share := each.attention[part], f"{share:.0%}")
                for part, title in PART_TITLES.items()
            ],
        )
        for each in added[:MOST_BARS]
    ]
    title = "Attention of the added heads"
    if len(added) > MOST_BARS:
        title = f"Attention of the {MOST_BARS} strongest added heads"
    return stacked_bars(title, list(PART_TITLES.items()), rows)


def _accuracy_bars(found: InContext) -> Html:
    groups = []
    for name in ASKED:
        accuracy, ablation = found.runs[name].accuracy, found.ablations[name]
        bars = [Bar("full model", "full", accuracy, f"{accuracy:.0%}")]
        if ablation is not None:
            own, (low, mean, high) = ablation.means.accuracy, ablation.random["accuracy"]
            bars.append(Bar("without the added heads", "without", own, f"{own:.0%}"))
            bars.append(Bar("without random heads", "random", mean, f"{mean:.0%}", (low, high)))
        groups.append((name, bars))
    return grouped_bars("Accuracy", groups)


def _accuracy_table(found: InContext) -> Html:
    head = (
        "questions",
        "accuracy",
        "without added heads",
        "without random heads",
        "NLL",
        "NLL without added heads",
    )
    rows = []
    for name in ASKED:
        run, ablation = found.runs[name], found.ablations[name]
        values = [NOTHING] * 3
        if ablation is not None:
            low, mean, high = ablation.random["accuracy"]
            chance = f"{number(mean)} ({number(low)} to {number(high)})"
            values = [number(ablation.means.accuracy), chance, number(ablation.means.metric)]
        rows.append((name, number(run.accuracy), values[0], values[1], number(run.metric), values[2]))
    return table("Accuracy with and without the added heads", head, rows)


def _added_table(added: Sequence[AddedHead]) -> Html:
    head = ("head", "strength", *(PART_TITLES[part] for part in PARTS))
    rows = [
        (
            each.node,
            number(each.strength, ".3g"),
            *(percent(each.attention[part]) for part in PARTS),
        )
        for each in added
    ]
    caption = "Heads that examples add, and their attention"
    return table(caption, head, rows, sortable=True)
