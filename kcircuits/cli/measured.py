"""What `kcircuits evaluate` was asked to measure, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kcircuits.circuit import Circuit
from kcircuits.cli.options import Running, TaskChoice, TaskOverrides
from kcircuits.cli.setup import read_reference
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
    from kcircuits.cli.evaluate import MeasuredFiles, Measures
    from kcircuits.scores import Scores


@dataclass(frozen=True)
class Wanted:
    """A circuit or the scores of all edges or both, and how to measure them."""

    circuit: Circuit | None
    scores: Scores | None
    reference: Circuit | None
    files: MeasuredFiles
    options: TaskChoice
    measures: Measures
    memory: str | None

    @property
    def settings(self) -> dict[str, Any]:
        """How the circuit was found; where it does not say, or there is none, the scores."""
        found = [each.settings for each in (self.scores, self.circuit) if each is not None]
        return {name: value for settings in found for name, value in settings.items()}

    def task(self, model: Model, prompts: Sequence[Prompt]) -> Task:
        """What is asked of some prompts: what the circuit, or the scores, were found for."""
        found = self.circuit or self.scores
        assert found is not None
        return Task.as_found(
            found,
            prompts,
            ablation=self.options.ablation,
            metric=self.options.metric,
            reference=read_reference(self.options.reference_prompts, model),
        )

    def check_model(self, identity: dict[str, Any]) -> None:
        """Raise KCircuitsError if any of it belongs to another model."""
        for each in (self.circuit, self.scores, self.reference):
            if each is not None:
                each.check_model(identity)


def read_wanted(files: MeasuredFiles, task: TaskOverrides, measures: Measures, run: Running) -> Wanted:
    """Read all files; ablation and metric are as the circuit was found, unless others are given."""
    if measures.minimality and files.circuit is None:
        raise KCircuitsError("--minimality needs --circuit")
    circuit = None if files.circuit is None else load_circuit(files.circuit)
    scores = None if files.scores is None else load_scores(files.scores)
    reference = None if files.reference is None else load_circuit(files.reference)
    wanted = Wanted(circuit, scores, reference, files, TaskChoice(), measures, run.memory)
    found = {"ablation": "zero", "metric": "nll"} | wanted.settings
    options = TaskChoice(
        ablation=task.ablation or found["ablation"],
        metric=task.metric or found["metric"],
        reference_prompts=task.reference_prompts,
    )
    return replace(wanted, options=options)


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


def measure(wanted: Wanted, model: Model, task: Task) -> Measured:
    """Do all that is wanted."""
    memory, measures, files = wanted.memory, wanted.measures, wanted.files
    seeds = range(measures.seed, measures.seed + measures.random_circuits)
    circuit, scores = wanted.circuit, wanted.scores
    evaluation = worth = curve = by_chance = None
    if circuit is not None:
        evaluation = evaluate(
            model,
            task,
            circuit,
            random_circuits=measures.random_circuits,
            seed=measures.seed,
            hit_k=measures.hit_k,
            memory=memory,
        )
        if measures.minimality:
            worth = minimality(model, task, circuit, seed=measures.seed, memory=memory)
    if scores is not None:
        ranked = Task.as_found(
            scores, task.prompts, ablation=task.ablation, metric=task.metric, reference=task.reference
        )
        curve = size_curve(
            model, ranked, scores, absolute=not files.signed, greedy=files.greedy, memory=memory
        )
        by_chance = random_curve(model, ranked, scores, seeds=seeds, memory=memory) if seeds else None
    return Measured(
        model=model.identity,
        ablation=task.ablation,
        metric=task.metric,
        num_prompts=len(task.prompts),
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
