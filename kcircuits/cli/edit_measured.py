"""What `kcircuits edit` measures and prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from kcircuits.editing.edit import EditedModel
    from kcircuits.editing.measures import EditMeasures
    from kcircuits.editing.methods import Method
    from kcircuits.editing.records.reading import LeftOut
    from kcircuits.editing.report import EditReport
    from kcircuits.editing.request import EditRequest
    from kcircuits.editing.second_moment import SecondMoment
    from kcircuits.model.loading import Model

SHOWN = 5
"""Edits that are named one by one."""


def measured(
    model: Model,
    requests: tuple[EditRequest, ...],
    made: list[EditedModel | str],
    text: str | None,
    seed: int,
    method: Method,
    moments: Callable[[int], SecondMoment],
    left_out: tuple[LeftOut, ...],
) -> EditReport:
    """Measure edits in the model with them and without."""
    from dataclasses import asdict

    from kcircuits.editing.measures import margin, measure_edit, perplexity
    from kcircuits.editing.methods import FineTuning
    from kcircuits.editing.report import EditReport
    from kcircuits.files.documents import read_text

    measures: list[EditMeasures | None] = []
    before: list[EditMeasures | None] = []
    margins: list[tuple[float, float] | None] = []
    for request, one in zip(requests, made, strict=True):
        if isinstance(one, str):
            measures.append(None)
            before.append(None)
            margins.append(None)
            continue
        measures.append(measure_edit(one.model, model, request, seed))
        before.append(measure_edit(model, model, request, seed))
        earlier, later = margin(model, request), margin(one.model, request)
        margins.append(None if earlier is None or later is None else (earlier, later))
    settings: dict[str, Any] = {"method": method.name, **asdict(method), "seed": seed}
    if isinstance(method, FineTuning):
        settings["nodes"] = list(method.tuned_nodes(len(model.spec.layers)))
    else:
        layers = method.layers(len(model.spec.layers))
        settings["layers"] = list(layers)
        settings["keys"] = [moments(layer).source for layer in layers]
    edited = {id(one): one for one in made if not isinstance(one, str)}
    both = None
    if text is not None and len(edited) == 1:
        content = read_text(text, "text")
        (one,) = edited.values()
        both = perplexity(model, content), perplexity(one.model, content)
    failed = {number: one for number, one in enumerate(made) if isinstance(one, str)}
    return EditReport(
        model.identity,
        settings,
        requests,
        tuple(measures),
        failed,
        both,
        tuple(before),
        tuple(margins),
        left_out,
    )


def show_report(report: EditReport) -> None:
    """Print what was measured."""
    from kcircuits.cli.console import print_rows
    from kcircuits.editing.report import summary

    done = len(report.requests) - len(report.failed)
    print_rows(
        f"{report.settings['method']}: {done} of {len(report.requests)} edits",
        ("measure", "before", "after"),
        summary(report.means, report.means_before),
    )
    if report.settings.get("keys", [None])[0] == "identity":
        print("keys were all held to be as common (--identity)")
    if report.perplexity is not None:
        print(f"perplexity of the text: {report.perplexity[0]:.2f} before, {report.perplexity[1]:.2f} after")
    _show_ahead(report)
    for number, reason in report.failed.items():
        print(f"edit {number + 1} ({report.requests[number].subject}): {reason}")


def _show_ahead(report: EditReport) -> None:
    """Say which edits had nothing to overcome: their efficacy is no success."""
    ahead = report.already_ahead
    for number in ahead[:SHOWN]:
        request, margins = report.requests[number], report.margins[number]
        assert margins is not None
        print(
            f"edit {number + 1} ({request.subject}): the model never knew {request.target_true!r}: "
            f"{request.target!r} was ahead of it by {margins[0]:.2f} nats before the edit, "
            f"and is by {margins[1]:.2f}"
        )
    if len(ahead) > SHOWN:
        print(f"{len(ahead):,} of {len(report.requests):,} edits had the new object ahead before the edit")
