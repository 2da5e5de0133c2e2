"""What one masked run makes of every prompt, and the means over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

import numpy as np

from kcircuits.evaluation.intervals import Interval, bounds, percentile_interval

HIT_RANK = 10


@dataclass(frozen=True)
class RunMeasures:
    """What one masked run makes of N prompts, at each prompt's last position.

    Parameters
    ----------
    metric
        The metric of each prompt, lower is better.
    rank
        Rank of each answer; tokens of the same logit share the middle of their places
        (`kcircuits.evaluation.read_answers`).
    probability
        Probability of each answer.
    kl
        KL(full model ‖ run) over the vocabulary, in nats.
    """

    metric: tuple[float, ...]
    rank: tuple[float, ...]
    probability: tuple[float, ...]
    kl: tuple[float, ...]

    @property
    def mean_metric(self) -> float:
        """Mean of the metric."""
        return fmean(self.metric)

    def hit_at(self, k: int) -> float:
        """Share of prompts whose answer is among the k most probable tokens."""
        return fmean(rank <= k for rank in self.rank)

    @property
    def hit_at_10(self) -> float:
        """Share of prompts whose answer is among the ten most probable tokens."""
        return self.hit_at(HIT_RANK)

    @property
    def accuracy(self) -> float:
        """Share of prompts whose answer is the most probable token, and no other is as probable."""
        return self.hit_at(1)

    @property
    def mean_rank(self) -> float:
        """Mean rank of the answer."""
        return fmean(self.rank)

    @property
    def mean_probability(self) -> float:
        """Mean probability of the answer."""
        return fmean(self.probability)

    @property
    def mean_kl(self) -> float:
        """Mean KL to the full model."""
        return fmean(self.kl)

    def on(self, prompts: Sequence[int]) -> RunMeasures:
        """The same run on some of the prompts, given by their indices."""
        return RunMeasures(*(tuple(values[n] for n in prompts) for values in vars(self).values()))

    def means(self, hit_k: int) -> dict[str, float]:
        """Every mean by the name that it has in JSON."""
        return {
            "metric": self.mean_metric,
            "hit_at_10": self.hit_at_10,
            "hit_at_k": self.hit_at(hit_k),
            "accuracy": self.accuracy,
            "mean_rank": self.mean_rank,
            "probability": self.mean_probability,
            "kl": self.mean_kl,
        }

    def intervals(self, weights: np.ndarray | None, hit_k: int) -> dict[str, Interval] | None:
        """Bootstrap interval of every mean; `weights` are those of `intervals.resampling_weights`."""
        if weights is None:
            return None
        rank = np.array(self.rank)
        observed = {
            "metric": self.metric,
            "hit_at_10": rank <= HIT_RANK,
            "hit_at_k": rank <= hit_k,
            "accuracy": rank <= 1,
            "mean_rank": rank,
            "probability": self.probability,
            "kl": self.kl,
        }
        return {name: percentile_interval(weights @ np.array(values)) for name, values in observed.items()}

    @classmethod
    def from_json(cls, run: dict[str, Any]) -> RunMeasures:
        """The run of a checked object of `to_json`: the prompts' values, which all else follows from."""
        return cls(**{field.name: tuple(map(float, run["per_prompt"][field.name])) for field in fields(cls)})

    def to_json(self, weights: np.ndarray | None, hit_k: int) -> dict[str, Any]:
        """Means first, then their intervals, then the values of every prompt."""
        intervals = self.intervals(weights, hit_k)
        return {
            **self.means(hit_k),
            "intervals": intervals and {name: bounds(each) for name, each in intervals.items()},
            "per_prompt": {key: list(values) for key, values in asdict(self).items()},
        }
