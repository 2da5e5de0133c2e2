"""What `kcircuits evaluate` was asked to measure, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kcircuits.circuit import Circuit
from kcircuits.data.metrics import Metric
from kcircuits.data.prompts import Prompt
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import (
    Evaluation,
    Minimality,
    SizeCurve,
    evaluate,
    minimality,
    random_curve,
    roc,
    size_curve,
)
from kcircuits.model.loading import Model
from kcircuits.task import Ablation, Task

if TYPE_CHECKING:
    from kcircuits.scores import Scores


@dataclass(frozen=True)
class Wanted:
    """A circuit or the scores of all edges or both, and how to measure them."""

    circuit: Circuit | None
    scores: Scores | None
    reference: Circuit | None
    ablation: Ablation
    metric: Metric
    random_circuits: int
    seed: int
    hit_k: int
    minimality: bool
    absolute: bool
    greedy: bool
    memory: str | None
    reference_prompts: tuple[Prompt, ...] = ()

    def task(self, prompts: Sequence[Prompt]) -> Task:
        """What is asked of some prompts: what the circuit, or the scores, were found for."""
        found = self.circuit or self.scores
        assert found is not None
        return Task.as_found(
            found, prompts, ablation=self.ablation, metric=self.metric, reference=self.reference_prompts
        )

    def check_model(self, identity: dict[str, Any]) -> None:
        """Raise KCircuitsError if any of it belongs to another model."""
        for each in (self.circuit, self.scores, self.reference):
            if each is not None:
                each.check_model(identity)


@dataclass(frozen=True)
class Measured:
    """The results; None where it was not asked for.

    `ranking` has the areas under the ROC by what was ranked, "circuit" or "scores", and by level.
    """

    model: dict[str, Any]
    ablation: Ablation
    metric: Metric
    num_prompts: int
    evaluation: Evaluation | None
    minimality: Minimality | None
    curve: SizeCurve | None
    random_curve: SizeCurve | None
    ranking: dict[str, dict[str, float | None]] | None

    def on(self, prompts: Sequence[int]) -> Measured:
        """The same on some of the prompts, given by their indices; a ranking has to do with none."""
        parts: dict[str, Any] = {
            name: None if (part := getattr(self, name)) is None else part.on(prompts)
            for name in ("evaluation", "minimality", "curve", "random_curve")
        }
        return replace(self, **parts, num_prompts=len(prompts), ranking=None)

    def to_json(self) -> dict[str, Any]:
        """The evaluation's keys, and one key for each other part that there is."""
        document: dict[str, Any] = {
            "model": self.model,
            "ablation": self.ablation,
            "metric": self.metric,
            "num_prompts": self.num_prompts,
        }
        if self.evaluation is not None:
            document = self.evaluation.to_json()
        if self.minimality is not None:
            document["minimality"] = self.minimality.to_json()
        if self.curve is not None:
            by_chance = None if self.random_curve is None else self.random_curve.to_json()
            document["curve"] = self.curve.to_json() | {"random": by_chance}
        if self.ranking is not None:
            document["reference"] = self.ranking
        return document


def measure(wanted: Wanted, model: Model, prompts: Sequence[Prompt]) -> Measured:
    """Do all that is wanted."""
    task, memory = wanted.task(prompts), wanted.memory
    seeds = range(wanted.seed, wanted.seed + wanted.random_circuits)
    circuit, scores = wanted.circuit, wanted.scores
    evaluation = worth = curve = by_chance = None
    if circuit is not None:
        evaluation = evaluate(
            model,
            task,
            circuit,
            random_circuits=wanted.random_circuits,
            seed=wanted.seed,
            hit_k=wanted.hit_k,
            memory=memory,
        )
        if wanted.minimality:
            worth = minimality(model, task, circuit, seed=wanted.seed, memory=memory)
    if scores is not None:
        ranked = Task.as_found(
            scores, prompts, ablation=task.ablation, metric=task.metric, reference=task.reference
        )
        how: dict[str, Any] = {"memory": memory}
        curve = size_curve(model, ranked, scores, absolute=wanted.absolute, greedy=wanted.greedy, **how)
        by_chance = random_curve(model, ranked, scores, seeds=seeds, **how) if seeds else None
    return Measured(
        model=model.identity,
        ablation=wanted.ablation,
        metric=wanted.metric,
        num_prompts=len(prompts),
        evaluation=evaluation,
        minimality=worth,
        curve=curve,
        random_curve=by_chance,
        ranking=None if wanted.reference is None else _ranking(circuit, scores, wanted.reference),
    )


def load_circuit(path: str) -> Circuit:
    """`Circuit.load`, which says so if the file has scores."""
    if path.endswith(".safetensors"):
        raise KCircuitsError(f"{path} is a file of scores, not a circuit: give it as --scores")
    return Circuit.load(path)


def load_scores(path: str) -> Scores:
    """Scores of all edges from a file."""
    from kcircuits.scores import Scores

    return Scores.load(path)


def _ranking(
    circuit: Circuit | None, scores: Scores | None, reference: Circuit
) -> dict[str, dict[str, float | None]]:
    rankings = {"circuit": circuit, "scores": None if scores is None else scores.matrix}
    return {
        name: {
            "edge_auc": roc(ranking, reference).auc,
            "node_auc": roc(ranking, reference, "node").auc,
        }
        for name, ranking in rankings.items()
        if ranking is not None
    }
