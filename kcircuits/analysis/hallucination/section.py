"""The layers where wrong answers take the lead, and the nodes that decide. A script draws each prompt."""

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
        f"On {count:,} of {of:,} prompt{'s' if of != 1 else ''} the model prefers a wrong answer. "
        f"{found.left_out}{'. ' if found.left_out else ''}The charts show both answers at the last position "
        "after each layer of the full model. The vertical line marks the layer from which the wrong answer "
        "is ahead for good, the dotted line the best rank of the right answer. The table lists each node's "
        "direct contribution to logit(wrong) − logit(right); a negative share favours the right answer."
    )
    parts = [tag("p", text), tag("div", id="errors-charts"), tag("div", id="errors-nodes")]
    if count > 1:
        parts += [_errors_table(found.errors), _recurring_table(found.recurring, count)]
    return section("hallucination", "Hallucinations", *parts)


def _errors_table(errors: Sequence[Hallucination]) -> Html:
    head = (
        "prompt",
        "right",
        "wrong",
        "overtaken after layers",
        "best rank",
        "after layers",
        "difference of logits",
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
    caption = "All errors; the rank is that of the right answer"
    return tag("details", tag("summary", "All errors"), table(caption, head, rows, sortable=True))


def _recurring_table(nodes: Sequence[RecurringNode], count: int) -> Html:
    """The nodes that are among the strongest in most errors."""
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
    head = ("node", "errors with it among the ten strongest", "mean difference of logits", "share")
    return table(caption, head, rows, sortable=True)
