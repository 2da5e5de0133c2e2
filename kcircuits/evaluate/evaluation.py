"""What an evaluation says, prompt by prompt and in summary."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from kcircuits.metrics import Metric, faithfulness
from kcircuits.task import Ablation

HIT_RANK = 10


@dataclass(frozen=True)
class RunMeasures:
    """What one masked run makes of N prompts.

    Parameters
    ----------
    metric
        The metric of each prompt, lower is better.
    rank
        Rank of each answer at the prompt's last position: 1 + the number of tokens with a greater logit.
    probability
        Probability of each answer there.
    """

    metric: tuple[float, ...]
    rank: tuple[int, ...]
    probability: tuple[float, ...]

    @property
    def mean_metric(self) -> float:
        """Mean of the metric."""
        return fmean(self.metric)

    @property
    def hit_at_10(self) -> float:
        """Share of prompts whose answer is among the ten most probable tokens."""
        return fmean(rank <= HIT_RANK for rank in self.rank)

    @property
    def mean_rank(self) -> float:
        """Mean rank of the answer."""
        return fmean(self.rank)

    @property
    def mean_probability(self) -> float:
        """Mean probability of the answer."""
        return fmean(self.probability)

    def to_json(self) -> dict[str, Any]:
        """Means first, then the values of every prompt."""
        return {
            "metric": self.mean_metric,
            "hit_at_10": self.hit_at_10,
            "mean_rank": self.mean_rank,
            "probability": self.mean_probability,
            "per_prompt": {key: list(values) for key, values in asdict(self).items()},
        }


@dataclass(frozen=True)
class Evaluation:
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
        Seed of the first random circuit; the next has the next seed.
    full, circuit, empty
        The full model, the circuit, and no edges at all.
    random
        Random connected circuits of the circuit's size (`kcircuits.random_circuits`); none for a circuit
        without edges.
    """

    model: dict[str, Any]
    ablation: Ablation
    metric: Metric
    fold_value_biases: bool
    num_edges: int
    num_graph_edges: int
    num_nodes: int
    seed: int
    full: RunMeasures
    circuit: RunMeasures
    empty: RunMeasures
    random: tuple[RunMeasures, ...]

    @property
    def num_prompts(self) -> int:
        """Number of prompts."""
        return len(self.full.metric)

    @property
    def faithfulness(self) -> float | None:
        """Faithfulness of the circuit (`kcircuits.metrics.faithfulness`)."""
        return self._faithfulness_of(self.circuit)

    @property
    def random_faithfulness(self) -> tuple[float | None, ...]:
        """Faithfulness of the random circuits."""
        return tuple(self._faithfulness_of(run) for run in self.random)

    def _faithfulness_of(self, run: RunMeasures) -> float | None:
        return faithfulness(self.full.mean_metric, run.mean_metric, self.empty.mean_metric)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; `random` is a list in the order of the seeds."""
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
            "faithfulness": self.faithfulness,
            "random_faithfulness": list(self.random_faithfulness),
            "full": self.full.to_json(),
            "circuit": self.circuit.to_json(),
            "empty": self.empty.to_json(),
            "random": [run.to_json() for run in self.random],
        }
