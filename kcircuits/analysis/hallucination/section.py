"""Where wrong answers overtake right ones, and the nodes that decide it; a script draws each prompt."""

from __future__ import annotations

from collections.abc import Sequence

from kcircuits.analysis.hallucination.results import Hallucination, Hallucinations, RecurringNode
from kcircuits.display.html import Html, section, table, tag
from kcircuits.display.numbers import number, percent
from kcircuits.display.prompts import prompt_text

LISTED = 30


def hallucination_section(found: Hallucinations) -> Html:
    """The section about errors."""
    count, of = len(found.errors), found.settings["num_prompts"]
    text = (
        f"On {count:,} of {of:,} prompt{'s' if of != 1 else ''} a wrong answer ends up ahead of the right "
        f"one. {found.left_out}{'. ' if found.left_out else ''}Both are read at the last position behind "
        "every layer of the full model; the upright line marks where the wrong one is ahead for good, the "
        "dotted one where the right one ranks best. A node decides by what it writes directly to the wrong "
        "answer's logit above the right one's; a negative share holds the wrong answer back."
    )
    parts = [tag("p", text), tag("div", id="errors-charts"), tag("div", id="errors-nodes")]
    if count > 1:
        parts += [_errors_table(found.errors), _recurring_table(found.recurring, count)]
    return section("hallucination", "Where wrong answers win", *parts)


def _errors_table(errors: Sequence[Hallucination]) -> Html:
    head = (
        "prompt",
        "right",
        "wrong",
        "overtaken behind layers",
        "best rank",
        "behind layers",
        "logits apart",
    )
    rows = [
        (
            prompt_text(each.text.tokens),
            each.text.answer.strip(),
            (each.text.wrong or "").strip(),
            each.overtakes,
            number(each.right.rank[each.best_layer], ",.0f"),
            each.best_layer,
            number(each.difference, "+.3f"),
        )
        for each in errors
    ]
    caption = "Every error; its rank is the right answer's"
    return tag("details", tag("summary", "Every error"), table(caption, head, rows, sortable=True))


def _recurring_table(nodes: Sequence[RecurringNode], count: int) -> Html:
    """The nodes that are among the strongest of most errors; heads and MLPs alike."""
    some = [each for each in nodes if each.errors > 0]
    rows = [
        (
            each.node,
            f"{each.errors:,}",
            number(each.difference, "+.3f"),
            percent(each.share, "+,.1f"),
        )
        for each in some[:LISTED]
    ]
    caption = f"Nodes that recur over {count:,} errors"
    if len(some) > LISTED:
        caption += f", the first {LISTED} of {len(some):,}"
    head = ("node", "among the ten strongest of", "mean difference of the logits", "share of it")
    return table(caption, head, rows, sortable=True)
