"""The result of several edits: measures of each edit, and edits.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from kcircuits.analysis.checks import LISTED, check_document, numbers
from kcircuits.display.result import Panels, Result
from kcircuits.display.text import count_of, name_of, printable
from kcircuits.editing.measures import EditMeasures, mean_measures
from kcircuits.editing.records.reading import LeftOut
from kcircuits.editing.request import EditRequest
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import (
    Keys,
    anything,
    check_keys,
    is_number,
    is_object,
    is_text,
    list_of,
    or_none,
)
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-edits/1"

T = TypeVar("T")


@dataclass(frozen=True, eq=False, repr=False)
class EditReport(Result):
    """Edits and their measures.

    Parameters
    ----------
    model
        Identity of the original model.
    settings
        The method, its options, and the source of the second moments.
    requests
        The edits.
    measures
        Measures of each edit; None for one that failed.
    failed
        Reasons by the edit's number, counted from 0.
    perplexity
        Perplexity of a text before and after, or None.
    before
        Measures of the original model for each edit; None for one that failed. Empty if not measured.
    margins
        For each edit, log p(target) − log p(true) after the prompt, before and after the edit; None if there
        is no true object or the edit failed.
    left_out
        Records of the file of edits that were left out.
    """

    WHAT: ClassVar[str] = "file of edits"

    model: dict[str, Any]
    settings: dict[str, Any]
    requests: tuple[EditRequest, ...]
    measures: tuple[EditMeasures | None, ...]
    failed: dict[int, str]
    perplexity: tuple[float, float] | None = None
    before: tuple[EditMeasures | None, ...] = ()
    margins: tuple[tuple[float, float] | None, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def means(self) -> dict[str, float | None]:
        """Means of the measures over the edits that did not fail."""
        return mean_measures([each for each in self.measures if each is not None])

    @property
    def means_before(self) -> dict[str, float | None] | None:
        """The same means of the original model, or None if it was not measured."""
        return mean_measures([each for each in self.before if each is not None]) if self.before else None

    @property
    def already_ahead(self) -> tuple[int, ...]:
        """Numbers of the edits whose target was more probable than the true object before the edit."""
        return tuple(n for n, margin in enumerate(self.margins) if margin is not None and margin[0] > 0)

    def table(self) -> DataFrame:
        """One row per edit: subject, prompt, target, reason of a failure, measures and margins."""
        need("pandas", "tables")
        from pandas import DataFrame

        rows = []
        for number, (request, measures) in enumerate(zip(self.requests, self.measures, strict=True)):
            about = {"subject": request.subject, "prompt": request.prompt, "target": request.target}
            found = {} if measures is None else {**asdict(measures), "score": measures.score}
            if measures is not None and (margin := _get_measured(self.margins, number)) is not None:
                found |= dict(zip(("margin_before", "margin_after"), margin, strict=True))
            rows.append({**about, "failed": self.failed.get(number), **found})
        return DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "format": FORMAT,
            "model": self.model,
            "settings": self.settings,
            "means": self.means,
            "means_before": self.means_before,
            "perplexity": None if self.perplexity is None else list(self.perplexity),
            "left_out": [asdict(each) for each in self.left_out],
            "edits": [
                {
                    "subject": request.subject,
                    "prompt": request.prompt,
                    "target": request.target,
                    "target_true": request.target_true,
                    "failed": self.failed.get(number),
                    "measures": None if measures is None else asdict(measures),
                    "before": None
                    if (before := _get_measured(self.before, number)) is None
                    else asdict(before),
                    "margin": None
                    if (margin := _get_measured(self.margins, number)) is None
                    else list(margin),
                }
                for number, (request, measures) in enumerate(zip(self.requests, self.measures, strict=True))
            ],
        }

    @classmethod
    def from_json(cls, document: object) -> EditReport:
        """The report of a document of `to_json`. Its means are ignored and computed again.

        The requests have no paraphrases, neighbours and other questions, which the document does not contain.
        Raises KCircuitsError if it is anything else.
        """
        given = check_document(document, cls.WHAT, FORMAT, _DOCUMENT)
        check_keys("settings", given["settings"], {"method": _TEXT})
        edits = [_check_edit(f"edit {n}", edit) for n, edit in enumerate(given["edits"])]
        pair, left_out = given["perplexity"], given.get("left_out", [])
        for n, each in enumerate(left_out):
            check_keys(f"left_out, {n}", each, _LEFT_OUT)
        return cls(
            model=given["model"],
            settings=given["settings"],
            requests=tuple(EditRequest(*(edit[key] for key in _REQUEST)) for edit in edits),
            measures=tuple(_measures_of(edit["measures"]) for edit in edits),
            failed={n: edit["failed"] for n, edit in enumerate(edits) if edit["failed"] is not None},
            perplexity=None if pair is None else (pair[0], pair[1]),
            before=_drop_empty([_measures_of(edit.get("before")) for edit in edits]),
            margins=_drop_empty(
                [None if (margin := edit.get("margin")) is None else (margin[0], margin[1]) for edit in edits]
            ),
            left_out=tuple(LeftOut(**{key: each[key] for key in _LEFT_OUT}) for each in left_out),
        )

    def describe(self) -> str:
        """Two lines: the number of edits and the method, then the means of the measures."""
        done = len(self.requests) - len(self.failed)
        method = printable(self.settings.get("method", "an unknown method"), 30)
        means = ", ".join(f"{name} {value:.3g}" for name, value in self.means.items() if value is not None)
        edits = count_of(len(self.requests), "edit")
        return (
            f"Report of {done:,} of {edits} of {name_of(self.model)} by {method}\n{means or 'none succeeded'}"
        )

    def panels(self) -> Panels:
        """ "means": all measures that are shares, after the edit and, if measured, before it."""
        from kcircuits.editing.report_plot import PANELS

        return PANELS


def summary(
    means: dict[str, float | None], before: dict[str, float | None] | None = None
) -> Sequence[tuple[str, ...]]:
    """Means as rows of a table: the measure's name, its value before the edit (if given), and its value."""
    rows = []
    for name, value in means.items():
        if value is not None:
            earlier = () if before is None else (_measure_text(name, before.get(name)),)
            rows.append((name, *earlier, _measure_text(name, value)))
    return rows


def _measure_text(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if name in ("magnitude", "fluency") else f"{100 * value:.1f} %"


def _get_measured(values: Sequence[T | None], number: int) -> T | None:
    return values[number] if number < len(values) else None


def _drop_empty(values: Sequence[T | None]) -> tuple[T | None, ...]:
    """The values, or an empty tuple if nothing was measured."""
    return tuple(values) if any(value is not None for value in values) else ()


def _measures_of(measures: dict[str, Any] | None) -> EditMeasures | None:
    return None if measures is None else EditMeasures(**{name: measures[name] for name in MEASURES})


def _check_edit(what: str, edit: object) -> dict[str, Any]:
    found = check_keys(what, edit, _EDIT)
    if (found["measures"] is None) == (found["failed"] is None):
        raise KCircuitsError(f"{what} must have either 'measures' or the reason why it 'failed'")
    for key in ("measures", "before"):
        if found.get(key) is not None:
            check_keys(f"{what}, {key!r}", found[key], dict.fromkeys(MEASURES, _NUMBER_OR_NONE))
    if "margin" in found:
        check_keys(what, found, {"margin": (or_none(numbers(2)), "two numbers or null")})
    return found


MEASURES = tuple(field.name for field in fields(EditMeasures))
_REQUEST = ("subject", "prompt", "target", "target_true")
_TEXT = (is_text, "a string")
_TEXT_OR_NONE = (or_none(is_text), "a string or null")
_OBJECT = (is_object, "an object")
_NUMBER_OR_NONE = (or_none(is_number), "a number or null")
_DOCUMENT: Keys = {
    "model": _OBJECT,
    "settings": _OBJECT,
    "perplexity": (or_none(numbers(2)), "two numbers, before and after, or null"),
    "edits": (list_of(anything, LISTED), "a list"),
}
_EDIT: Keys = {
    **dict.fromkeys(("subject", "prompt", "target"), _TEXT),
    "target_true": _TEXT_OR_NONE,
    "failed": _TEXT_OR_NONE,
    "measures": (or_none(is_object), "an object or null"),
}
_LEFT_OUT: Keys = {
    **dict.fromkeys(("where", "reason", "message"), _TEXT),
    "whole": (lambda value: type(value) is bool, "true or false"),
}
