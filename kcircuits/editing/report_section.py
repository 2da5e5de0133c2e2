"""How successful edits are, and what they break."""

from __future__ import annotations

from kcircuits.display.html import Html, section, table, tag
from kcircuits.display.numbers import NOTHING, number
from kcircuits.editing.report import MEASURES, EditReport, summary


def edits_section(report: EditReport) -> Html:
    """The section about measures of edits."""
    of = len(report.requests)
    done = of - len(report.failed)
    text = f"{report.settings['method']}: {done:,} of {of:,} edit{'s' if of != 1 else ''}."
    if report.perplexity is not None:
        before, after = report.perplexity
        text += f" Perplexity of the text: {number(before, ',.2f')} before, {number(after, ',.2f')} after."
    parts = [tag("p", text)]
    if done:
        earlier = report.means_before
        head = ("measure", "mean") if earlier is None else ("measure", "before", "after")
        parts.append(table("Means of the measures", head, summary(report.means, earlier)))
    parts.append(_edits_table(report))
    return section("edits", "Success of the edits", *parts)


def _edits_table(report: EditReport) -> Html:
    """A row for each edit, with all measures that at least one edit has."""
    known = [
        name
        for name in MEASURES
        if any(each is not None and getattr(each, name) is not None for each in report.measures)
    ]
    rows = [
        (
            request.prompt,
            request.target,
            request.target_true or NOTHING,
            *(number(None if measures is None else getattr(measures, name)) for name in known),
            *([report.failed.get(place, "")] if report.failed else []),
        )
        for place, (request, measures) in enumerate(zip(report.requests, report.measures, strict=True))
    ]
    head = ("prompt", "new", "old", *known, *(["error"] if report.failed else []))
    return table("All edits", head, rows, sortable=True)
