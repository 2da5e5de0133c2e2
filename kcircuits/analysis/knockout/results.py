"""The result of `knockout`, a model without a circuit, and knockout.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from kcircuits.analysis.checks import LISTED, check_document
from kcircuits.display.result import Panels, Result
from kcircuits.display.text import count_of, name_of
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.evaluation_json import check_run
from kcircuits.evaluation.intervals import resampling_weights
from kcircuits.evaluation.measures import RunMeasures
from kcircuits.files.documents import (
    Keys,
    anything,
    check_keys,
    is_count,
    is_number,
    is_object,
    is_text,
    list_of,
)
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "kcircuits-knockout/1"
OWN, TEXT = "own", "text"
"""Names of the circuit's own prompts and of the text."""


@dataclass(frozen=True)
class PromptsEffect:
    """Runs on one set of prompts: the full model, and the model without the circuit's edges.

    `random`: without the edges of random circuits.
    """

    name: str
    full: RunMeasures
    knockout: RunMeasures
    random: tuple[RunMeasures, ...]

    @property
    def runs(self) -> tuple[RunMeasures, ...]:
        """The full model, without the circuit, and without each random circuit."""
        return (self.full, self.knockout, *self.random)

    @classmethod
    def from_json(cls, what: str, effect: object) -> PromptsEffect:
        """Read an effect from an object of knockout.json; raises KCircuitsError if it is anything else."""
        found = check_keys(what, effect, _EFFECT)
        named = {name: found[name] for name in ("full", "knockout")}
        named |= {f"random {place}": run for place, run in enumerate(found["random"])}
        count = None
        for name, run in named.items():
            count = check_run(f"{what}, {name!r}", run, count)
        full, knockout, *random = map(RunMeasures.from_json, named.values())
        return cls(found["prompts"], full, knockout, tuple(random))


@dataclass(frozen=True)
class TextEffect:
    """Perplexities of a text in the same runs, over `num_tokens` predicted tokens."""

    num_tokens: int
    full: float
    knockout: float
    random: tuple[float, ...]

    @property
    def runs(self) -> tuple[float, ...]:
        """The full model's, without the circuit, and without each random circuit."""
        return (self.full, self.knockout, *self.random)

    @classmethod
    def from_json(cls, what: str, text: object) -> TextEffect:
        """Read perplexities from an object of knockout.json; raises KCircuitsError if it is anything else."""
        found = check_keys(what, text, _TEXT)
        return cls(found["num_tokens"], found["full"], found["knockout"], tuple(found["random"]))


@dataclass(frozen=True, eq=False, repr=False)
class Knockout(Result):
    """A model without some edges.

    Parameters
    ----------
    model
        Identity of the model.
    settings
        Settings of the measurement: "ablation", "hit_k", "seed"; the number of the circuit's edges,
        "num_circuit_edges", and of those removed, "num_removed_edges".
    effects
        Effects on the circuit's own prompts, then on others.
    text
        Effect on a running text, if there was one.
    """

    WHAT: ClassVar[str] = "file of a knockout"

    model: dict[str, Any]
    settings: dict[str, Any]
    effects: tuple[PromptsEffect, ...]
    text: TextEffect | None

    def table(self) -> DataFrame:
        """A row for each set of prompts (or the text) and run: "full", "knockout", "random 1", …"""
        need("pandas", "tables")
        from pandas import DataFrame

        rows: list[dict[str, Any]] = []
        for effect in self.effects:
            for run, measures in _name_runs(effect.full, effect.knockout, effect.random):
                means = measures.means(self.settings["hit_k"])
                rows.append({"prompts": effect.name, "run": run, "nll": means.pop("metric"), **means})
        if self.text is not None:
            for run, value in _name_runs(self.text.full, self.text.knockout, self.text.random):
                rows.append({"prompts": TEXT, "run": run, "perplexity": value})
        return DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """The content of knockout.json."""
        hit_k, seed = self.settings["hit_k"], self.settings["seed"]
        effects = []
        for effect in self.effects:
            weights = resampling_weights(len(effect.full.metric), seed)
            effects.append(
                {
                    "prompts": effect.name,
                    "num_prompts": len(effect.full.metric),
                    "full": effect.full.to_json(weights, hit_k),
                    "knockout": effect.knockout.to_json(weights, hit_k),
                    "random": [run.to_json(weights, hit_k) for run in effect.random],
                }
            )
        return {
            "format": FORMAT,
            "model": self.model,
            "settings": self.settings,
            "effects": effects,
            "text": None if self.text is None else vars(self.text) | {"random": list(self.text.random)},
        }

    @classmethod
    def from_json(cls, document: object) -> Knockout:
        """The knockout of a document of `to_json`; means and intervals follow from the prompts' values.

        Raises KCircuitsError if it is anything else.
        """
        given = check_document(document, cls.WHAT, FORMAT, _DOCUMENT)
        check_keys("settings", given["settings"], _SETTINGS)
        if not given["effects"]:
            raise KCircuitsError(f"{cls.WHAT}: 'effects' is empty, so nothing was measured")
        effects = tuple(
            PromptsEffect.from_json(f"effects, {index}", effect)
            for index, effect in enumerate(given["effects"])
        )
        text = None if given["text"] is None else TextEffect.from_json("text", given["text"])
        counts = {len(effect.random) for effect in effects} | ({len(text.random)} if text else set())
        if len(counts) > 1:
            raise KCircuitsError(
                f"{cls.WHAT}: all effects must have the same number of random circuits, got {sorted(counts)}"
            )
        return cls(given["model"], given["settings"], effects, text)

    def describe(self) -> str:
        """Two lines: what was removed, then the mean NLL with and without it on the circuit's own prompts."""
        settings, own = self.settings, self.effects[0]
        removed = f"{settings['num_removed_edges']:,} of {settings['num_circuit_edges']:,} edges"
        nll = f"{own.full.mean_metric:.4g} → {own.knockout.mean_metric:.4g}"
        if own.random:
            nll += f" (random circuits {fmean(run.mean_metric for run in own.random):.4g})"
        return (
            f"Knockout of {removed} in {name_of(self.model)}, {settings['ablation']} ablation\n"
            f"nll of the circuit's {count_of(len(own.full.metric), 'prompt')}: {nll}"
        )

    def panels(self) -> Panels:
        """ "hit" and "nll" on each set of prompts, and "perplexity" of the text, if there was one."""
        from kcircuits.analysis.knockout.plot import PANELS

        return {name: draw for name, draw in PANELS.items() if name != "perplexity" or self.text is not None}


R = TypeVar("R")


def _name_runs(full: R, without: R, random: Sequence[R]) -> Iterator[tuple[str, R]]:
    yield "full", full
    yield "knockout", without
    yield from ((f"random {number}", run) for number, run in enumerate(random, start=1))


_NUMBER = (is_number, "a number")
_COUNT = (is_count, "a whole number from 0 on")
_OBJECT = (is_object, "an object")
_DOCUMENT: Keys = {
    "model": _OBJECT,
    "settings": _OBJECT,
    "effects": (list_of(anything, LISTED), "a list"),
    "text": (anything, "an object or null"),
}
_SETTINGS: Keys = {
    "ablation": (is_text, "a string"),
    **dict.fromkeys(("num_circuit_edges", "num_removed_edges", "hit_k", "seed"), _COUNT),
}
_EFFECT: Keys = {
    "prompts": (is_text, "a string"),
    "full": _OBJECT,
    "knockout": _OBJECT,
    "random": (list_of(is_object, LISTED), "a list of objects"),
}
_PERPLEXITY = (lambda value: is_number(value) and value > 0, "a number above 0")
_TEXT: Keys = {
    "num_tokens": _COUNT,
    "full": _PERPLEXITY,
    "knockout": _PERPLEXITY,
    "random": (list_of(_PERPLEXITY[0], LISTED), "a list of numbers above 0"),
}
