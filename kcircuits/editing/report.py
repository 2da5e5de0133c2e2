"""What came of some edits, for people and for files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcircuits.editing.measures import EditMeasures, mean_measures
from kcircuits.editing.request import EditRequest
from kcircuits.files import write_atomically

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-edits/1"


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
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    requests: tuple[EditRequest, ...]
    measures: tuple[EditMeasures | None, ...]
    failed: dict[int, str]
    perplexity: tuple[float, float] | None = None

    @property
    def means(self) -> dict[str, float | None]:
        """Means of the measures over the edits that did not fail."""
        return mean_measures([each for each in self.measures if each is not None])

    def table(self) -> DataFrame:
        """One row per edit: subject, prompt, target, what failed, and the measures."""
        from pandas import DataFrame

        rows = []
        for number, (request, measures) in enumerate(zip(self.requests, self.measures, strict=True)):
            about = {"subject": request.subject, "prompt": request.prompt, "target": request.target}
            found = {} if measures is None else {**asdict(measures), "score": measures.score}
            rows.append({**about, "failed": self.failed.get(number), **found})
        return DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "format": FORMAT,
            "model": self.model,
            "settings": self.settings,
            "means": self.means,
            "perplexity": None if self.perplexity is None else list(self.perplexity),
            "edits": [
                {
                    "subject": request.subject,
                    "prompt": request.prompt,
                    "target": request.target,
                    "target_true": request.target_true,
                    "failed": self.failed.get(number),
                    "measures": None if measures is None else asdict(measures),
                }
                for number, (request, measures) in enumerate(zip(self.requests, self.measures, strict=True))
            ],
        }

    def save(self, path: str | Path) -> None:
        """Write edits.json, atomically."""
        write_atomically(path, json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n")


def summary(means: dict[str, float | None]) -> Sequence[tuple[str, str]]:
    """Means as rows of a table: the measure's name, and its value as people read it."""
    in_percent = set(means) - {"magnitude", "fluency"}
    return [
        (name, f"{100 * value:.1f} %" if name in in_percent else f"{value:.3f}")
        for name, value in means.items()
        if value is not None
    ]
