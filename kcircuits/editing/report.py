"""What came of some edits, for people and for files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kcircuits.editing.measures import EditMeasures, mean_measures
from kcircuits.editing.records.reading import LeftOut
from kcircuits.editing.request import EditRequest
from kcircuits.files import write_atomically
from kcircuits.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-edits/1"

T = TypeVar("T")


@dataclass(frozen=True)
class EditReport:
    """Edits and their measures.

    Parameters
    ----------
    model
        Identity of the model that was edited.
    settings
        The method, its options, and what its keys were compared with.
    requests
        The edits.
    measures
        Of each; None for one that failed.
    failed
        Reasons by the edit's number, from 0.
    perplexity
        Of a text before and after, or None.
    before
        Measures of the unedited model, for each edit; None for one that failed. Empty where not measured.
    margins
        For each edit log p(target) − log p(true) behind the prompt, before and after; None where there is no
        true one, or the edit failed.
    left_out
        What of the file of edits is not among them.
    """

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
        """The same means of the unedited model, or None where it was not measured."""
        return mean_measures([each for each in self.before if each is not None]) if self.before else None

    @property
    def already_ahead(self) -> tuple[int, ...]:
        """Numbers of the edits whose target was more probable than the true object before the edit."""
        return tuple(n for n, margin in enumerate(self.margins) if margin is not None and margin[0] > 0)

    def table(self) -> DataFrame:
        """One row per edit: subject, prompt, target, what failed, the measures, and the margins."""
        need("pandas", "tables")
        from pandas import DataFrame

        rows = []
        for number, (request, measures) in enumerate(zip(self.requests, self.measures, strict=True)):
            about = {"subject": request.subject, "prompt": request.prompt, "target": request.target}
            found = {} if measures is None else {**asdict(measures), "score": measures.score}
            if measures is not None and (margin := _at(self.margins, number)) is not None:
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
                    "before": None if (before := _at(self.before, number)) is None else asdict(before),
                    "margin": None if (margin := _at(self.margins, number)) is None else list(margin),
                }
                for number, (request, measures) in enumerate(zip(self.requests, self.measures, strict=True))
            ],
        }

    def save(self, path: str | Path) -> None:
        """Write edits.json, atomically."""
        write_atomically(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def summary(
    means: dict[str, float | None], before: dict[str, float | None] | None = None
) -> Sequence[tuple[str, ...]]:
    """Means as rows of a table: the measure's name, its value before the edit if given, and its value."""
    rows = []
    for name, value in means.items():
        if value is not None:
            earlier = () if before is None else (_shown(name, before.get(name)),)
            rows.append((name, *earlier, _shown(name, value)))
    return rows


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if name in ("magnitude", "fluency") else f"{100 * value:.1f} %"


def _at(values: Sequence[T | None], number: int) -> T | None:
    return values[number] if number < len(values) else None
