"""What an evaluation says, prompt by prompt and in summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kcircuits.data.metrics import Metric, faithfulness
from kcircuits.display.result import Panels, Result
from kcircuits.display.text import name_of
from kcircuits.evaluation import evaluation_json
from kcircuits.evaluation.intervals import (
    LEVEL,
    RESAMPLES,
    Interval,
    bounds,
    percentile_interval,
    resampling_weights,
)
from kcircuits.evaluation.measures import RunMeasures
from kcircuits.runtime.optional import need
from kcircuits.task import Ablation

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Result):
    """A circuit measured beside others, all on the same prompts and with the same ablation.

    Parameters
    ----------
    model
        Identity of the model.
    ablation, metric, fold_value_biases
        How it was measured.
    num_edges, num_graph_edges, num_nodes
        Size of the circuit, and of the full graph.
    seed
        Seed of the first random circuit; the next has the next seed. The bootstrap has the same seed.
    hit_k
        The k of Hit@k.
    full, circuit, complement, empty
        The full model, the circuit, the full model without the circuit's edges, and no edges at all.
    random
        Random connected circuits of the circuit's size (`kcircuits.circuit.random_circuits`); none for a
        circuit without edges.
    """

    WHAT: ClassVar[str] = evaluation_json.WHAT
    INDENT: ClassVar[int | None] = 2

    model: dict[str, Any]
    ablation: Ablation
    metric: Metric
    fold_value_biases: bool
    num_edges: int
    num_graph_edges: int
    num_nodes: int
    seed: int
    hit_k: int
    full: RunMeasures
    circuit: RunMeasures
    complement: RunMeasures
    empty: RunMeasures
    random: tuple[RunMeasures, ...]

    @property
    def num_prompts(self) -> int:
        """Number of prompts."""
        return len(self.full.metric)

    @property
    def faithfulness(self) -> float | None:
        """Faithfulness of the circuit (`kcircuits.data.metrics.faithfulness`)."""
        return self._faithfulness_of(self.circuit)

    @property
    def faithfulness_interval(self) -> Interval | None:
        """Bootstrap interval of the faithfulness over prompts."""
        return self._interval_of(self.circuit)

    @property
    def completeness(self) -> float | None:
        """Faithfulness of what the circuit leaves out; the less, the more complete the circuit is."""
        return self._faithfulness_of(self.complement)

    @property
    def completeness_interval(self) -> Interval | None:
        """Bootstrap interval of the completeness over prompts."""
        return self._interval_of(self.complement)

    @property
    def random_faithfulness(self) -> tuple[float | None, ...]:
        """Faithfulness of the random circuits."""
        return tuple(self._faithfulness_of(run) for run in self.random)

    @property
    def p_value(self) -> float | None:
        """(1 + number of random circuits that are as faithful or more) / (1 + number of random circuits).

        How likely a random circuit of the size does as well, estimated without ever being 0. None without
        random circuits or without a faithfulness.
        """
        own = self.faithfulness
        others = [value for value in self.random_faithfulness if value is not None]
        if own is None or not others:
            return None
        return (1 + sum(value >= own for value in others)) / (1 + len(others))

    @property
    def p_value_text(self) -> str | None:
        """The p-value in words, which say so if it is the smallest that the number of random circuits allows.

        Examples
        --------
        "p = 0.182", or "p ≤ 0.050, the smallest value that 19 random circuits can show".
        """
        p = self.p_value
        if p is None:
            return None
        count = sum(value is not None for value in self.random_faithfulness)
        if p > 1 / (1 + count):
            return f"p = {p:.3f}"
        return f"p ≤ {p:.3f}, the smallest value that {count:,} random circuits can show"

    def describe(self) -> str:
        """Two lines: what was measured how, then faithfulness, completeness and the p-value."""
        name = name_of(self.model)
        size = f"a circuit of {self.num_edges:,} of {self.num_graph_edges:,} edges of {name}"
        values = {
            "faithfulness": self.faithfulness,
            "completeness": self.completeness,
            self.metric: self.circuit.mean_metric,
        }
        shown = ", ".join(f"{key} {value:.4g}" for key, value in values.items() if value is not None)
        chance = "" if self.p_value_text is None else f"; {self.p_value_text}"
        how = f"{self.num_prompts:,} prompts, {self.ablation} ablation"
        return f"Evaluation of {size} on {how}\n{shown} (full model {self.full.mean_metric:.4g}){chance}"

    def table(self) -> DataFrame:
        """A row for every run, means over prompts, with the faithfulness.

        Runs are "full", "circuit", "complement", "empty", "random 1", …; columns are those of
        `RunMeasures.means` and "faithfulness".
        """
        need("pandas", "tables")
        from pandas import DataFrame

        rows = [
            {"run": name, "faithfulness": self._faithfulness_of(run), **run.means(self.hit_k)}
            for name, run in self.runs().items()
        ]
        return DataFrame(rows)

    def runs(self) -> dict[str, RunMeasures]:
        """All runs by name: "full", "circuit", "complement", "empty", "random 1", …"""
        named = {name: getattr(self, name) for name in ("full", "circuit", "complement", "empty")}
        return named | {f"random {number}": run for number, run in enumerate(self.random, start=1)}

    def panels(self) -> Panels:
        """ "faithfulness": of the circuit, of what it leaves out, and of the random circuits."""
        from kcircuits.evaluation.evaluation_plot import PANELS

        return PANELS

    def on(self, prompts: Sequence[int]) -> Evaluation:
        """The same evaluation on some of its prompts, given by their indices."""
        runs = {name: getattr(self, name).on(prompts) for name in ("full", "circuit", "complement", "empty")}
        return replace(self, **runs, random=tuple(run.on(prompts) for run in self.random))

    @cached_property
    def weights(self) -> np.ndarray | None:
        """How much each prompt weighs in each bootstrap resample (`intervals.resampling_weights`)."""
        return resampling_weights(self.num_prompts, self.seed)

    def _faithfulness_of(self, run: RunMeasures) -> float | None:
        return faithfulness(self.full.mean_metric, run.mean_metric, self.empty.mean_metric)

    def _interval_of(self, run: RunMeasures) -> Interval | None:
        """Over the resamples in which there is a faithfulness; the runs of one resample share its prompts."""
        if self.weights is None or self._faithfulness_of(run) is None:
            return None
        means = [self.weights @ np.array(each.metric) for each in (self.full, run, self.empty)]
        resampled = [faithfulness(*values) for values in zip(*means, strict=True)]
        known = [value for value in resampled if value is not None]
        return percentile_interval(np.array(known)) if known else None

    @classmethod
    def from_json(cls, document: object) -> Evaluation:
        """The evaluation of a circuit in a document of `to_json` or of `kcircuits evaluate`.

        Raises KCircuitsError if the document is anything else.
        """
        return cls(**evaluation_json.fields_of(evaluation_json.checked(document)))

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; `random` is a list in the order of the seeds."""
        named = {name: getattr(self, name) for name in ("full", "circuit", "complement", "empty")}
        return {
            "model": self.model,
            "ablation": self.ablation,
            "metric": self.metric,
            "fold_value_biases": self.fold_value_biases,
            "num_prompts": self.num_prompts,
            "num_edges": self.num_edges,
            "num_graph_edges": self.num_graph_edges,
            "num_nodes": self.num_nodes,
            "seed": self.seed,
            "hit_k": self.hit_k,
            "bootstrap": {"level": LEVEL, "resamples": RESAMPLES},
            "faithfulness": self.faithfulness,
            "faithfulness_interval": bounds(self.faithfulness_interval),
            "completeness": self.completeness,
            "completeness_interval": bounds(self.completeness_interval),
            "random_faithfulness": list(self.random_faithfulness),
            "p_value": self.p_value,
            **{name: run.to_json(self.weights, self.hit_k) for name, run in named.items()},
            "random": [run.to_json(self.weights, self.hit_k) for run in self.random],
        }
