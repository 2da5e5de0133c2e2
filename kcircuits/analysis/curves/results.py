"""Rank and probability of the answer after each layer: the result of `layer_curves`, and curves.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kcircuits.analysis.bands import Band, bootstrap_band
from kcircuits.analysis.checks import LISTED, MOST_PROMPTS, check_document, numbers
from kcircuits.analysis.prompt_texts import PromptText
from kcircuits.display.result import ByContent, Panels, Result
from kcircuits.display.text import count_of, name_of
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import Keys, anything, check_keys, is_count, is_object, list_of, or_none
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-curves/1"
MEASURES = ("rank", "probability", "subject_best_rank", "subject_last_probability")


@dataclass(frozen=True, eq=False)
class RunCurves(ByContent):
    """The curves of one run on N prompts after 0 … L layers, each float64 [N, L + 1].

    Parameters
    ----------
    rank, probability
        Rank and probability of the answer at the last position; rank 1 is the most likely token.
    subject_best_rank
        The answer's best rank over the subject's tokens; NaN for prompts without a subject.
    subject_last_probability
        Its probability at the subject's last token; NaN for prompts without a subject.
    """

    rank: np.ndarray
    probability: np.ndarray
    subject_best_rank: np.ndarray
    subject_last_probability: np.ndarray

    def of_prompt(self, index: int) -> dict[str, list[float] | None]:
        """One prompt's values for JSON; None if it has no subject."""
        rows = {name: values[index] for name, values in vars(self).items()}
        return {name: None if np.isnan(row).any() else row.tolist() for name, row in rows.items()}


@dataclass(frozen=True, eq=False, repr=False)
class Curves(Result):
    """The curves of some prompts.

    Parameters
    ----------
    model
        Identity of the model.
    settings
        Settings of the measurement; `seed` is the seed of the bootstrap.
    prompts
        The prompts' texts, [N].
    runs
        "full" for the whole model, and "circuit" if there is one.
    """

    WHAT: ClassVar[str] = "file of layer curves"

    model: dict[str, Any]
    settings: dict[str, Any]
    prompts: tuple[PromptText, ...]
    runs: dict[str, RunCurves]

    @property
    def layers(self) -> tuple[int, ...]:
        """0 … L: the number of layers whose output is in the stream. 0 is the input."""
        return tuple(range(self.runs["full"].rank.shape[1]))

    def summary(self, run: str) -> dict[str, Band | None]:
        """Mean of each measure over prompts (geometric mean for ranks) with its bootstrap interval.

        Measures at the subject use the prompts that have one; None if no prompt has one.
        """
        bands: dict[str, Band | None] = {}
        for name in MEASURES:
            values = getattr(self.runs[run], name)
            known = values[~np.isnan(values).any(axis=1)]
            geometric = name.endswith("rank")
            bands[name] = (
                bootstrap_band(known, self.settings.get("seed", 0), geometric=geometric)
                if len(known)
                else None
            )
        return bands

    def table(self) -> DataFrame:
        """A row for each run, prompt and layer."""
        need("pandas", "tables")
        from pandas import DataFrame

        rows = [
            {"run": run, "prompt": n, "answer": prompt.answer, "layer": layer}
            | {name: getattr(values, name)[n, layer] for name in MEASURES}
            for run, values in self.runs.items()
            for n, prompt in enumerate(self.prompts)
            for layer in self.layers
        ]
        return DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """The content of curves.json."""
        summaries = {run: self.summary(run) for run in self.runs}
        return {
            "format": FORMAT,
            "model": self.model,
            "settings": self.settings,
            "layers": list(self.layers),
            "circuit": "circuit" in self.runs,
            "prompts": [
                prompt.to_json() | {"runs": {run: values.of_prompt(n) for run, values in self.runs.items()}}
                for n, prompt in enumerate(self.prompts)
            ],
            "summary": {
                run: {name: band and band.to_json() for name, band in bands.items()}
                for run, bands in summaries.items()
            },
        }

    @classmethod
    def from_json(cls, document: object) -> Curves:
        """The curves of a document of `to_json`. Its summary is ignored and computed again.

        Raises KCircuitsError if it is anything else.
        """
        given = check_document(document, cls.WHAT, FORMAT, _DOCUMENT)
        length = len(given["layers"])
        if given["layers"] != list(range(length)) or length < 2 or not given["prompts"]:
            raise KCircuitsError(
                f"{cls.WHAT}: 'layers' must be 0, 1, … and there must be at least one prompt"
            )
        names = ("full", "circuit") if given["circuit"] else ("full",)
        texts, runs = [], []
        for index, prompt in enumerate(given["prompts"]):
            what = f"prompt {index}"
            texts.append(PromptText.from_json(what, prompt))
            check_keys(what, prompt, {"runs": (is_object, "an object")})
            runs.append(
                [
                    check_keys(f"{what}, run {run!r}", prompt["runs"].get(run), _curves(length))
                    for run in names
                ]
            )
        columns = {
            name: RunCurves(*(_stack([of[r][measure] for of in runs], length) for measure in MEASURES))
            for r, name in enumerate(names)
        }
        return cls(given["model"], given["settings"], tuple(texts), columns)

    def describe(self) -> str:
        """Two lines: what was read, then the answer's mean rank after the last layer."""
        last = {run: self.summary(run)["rank"] for run in self.runs}
        ranks = ", ".join(f"{run} {band.mean[-1]:,.1f}" for run, band in last.items() if band is not None)
        return (
            f"Curves of {name_of(self.model)}: {count_of(len(self.prompts), 'prompt')}, "
            f"{self.layers[-1]} layers\nrank of the answer after the last layer: {ranks}"
        )

    def panels(self) -> Panels:
        """ "rank" and "probability" of the answer over layers."""
        from kcircuits.analysis.curves.plot import PANELS

        return PANELS


def _stack(rows: list[list[float] | None], length: int) -> np.ndarray:
    """The prompts' values, float64 [N, L + 1]; NaN for a prompt without a subject."""
    return np.array([[np.nan] * length if row is None else row for row in rows], dtype=np.float64)


def _curves(length: int) -> Keys:
    values = numbers(length)
    wanted = f"{length} numbers, one per layer"
    return {
        name: (or_none(values), f"{wanted}, or null") if name in MEASURES[2:] else (values, wanted)
        for name in MEASURES
    }


_DOCUMENT: Keys = {
    "model": (is_object, "an object"),
    "settings": (is_object, "an object"),
    "layers": (list_of(is_count, LISTED), "a list of layers"),
    "circuit": (lambda value: type(value) is bool, "true or false"),
    "prompts": (list_of(anything, MOST_PROMPTS), f"a list of at most {MOST_PROMPTS}"),
}
