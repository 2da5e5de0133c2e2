"""How well edits took, and what they broke."""

from __future__ import annotations

from typing import Any

from kcircuits.editing.report import summary
from kcircuits.report.html import Html, section, table, tag
from kcircuits.report.readings.edits_json import MEASURES
from kcircuits.report.sections.numbers import NOTHING, number


def edits_section(edits: dict[str, Any]) -> Html:
    """The section about the measures of edits."""
    made = edits["edits"]
    done = [each for each in made if each["failed"] is None]
    text = (
        f"{edits['settings']['method']}: {len(done):,} of {len(made):,} edit{'s' if len(made) != 1 else ''}."
    )
    if edits["perplexity"] is not None:
        before, after = edits["perplexity"]
        text += f" Perplexity of the text: {number(before, ',.2f')} before, {number(after, ',.2f')} after."
    parts = [tag("p", text)]
    if done:
        before = edits.get("means_before")  # of files since it is measured
        head = ("measure", "mean") if before is None else ("measure", "before", "after")
        parts.append(table("Means of the measures", head, summary(edits["means"], before)))
    parts.append(_every(made))
    return section("edits", "How well the edits took", *parts)


def _every(edits: list[dict[str, Any]]) -> Html:
    """A row for every edit, with the measures that any of them has."""
    known = [
        name
        for name in MEASURES
        if any(each["measures"] and each["measures"][name] is not None for each in edits)
    ]
    failed = any(each["failed"] is not None for each in edits)
    rows = [
        (
            each["prompt"],
            each["target"],
            each["target_true"] or NOTHING,
            *(number(each["measures"] and each["measures"][name]) for name in known),
            *([each["failed"] or ""] if failed else []),
        )
        for each in edits
    ]
    head = ("prompt", "new", "old", *known, *(["why it failed"] if failed else []))
    return table("Every edit", head, rows, sortable=True)
