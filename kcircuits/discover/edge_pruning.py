"""Edge pruning (arXiv 2406.16778): a mask over all edges, trained by gradient descent to a given size."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from kcircuits.discover import gates
from kcircuits.discover.by_scores import check_differences
from kcircuits.discover.method import Found
from kcircuits.discover.progress import ProgressCallback, Steps
from kcircuits.engine import Engine, engine_of
from kcircuits.errors import KCircuitsError
from kcircuits.metrics import faithfulness
from kcircuits.model.devices import check_together
from kcircuits.model.spec import ModelSpec
from kcircuits.scores import edges_of
from kcircuits.selection import Selection, select
from kcircuits.task import Task

WARM_UP = 0.6
"""Share of the steps in which the size goal falls from all edges to the wanted number, by equal factors."""

PATIENCE = 40
"""Training ends early after so many steps at the wanted size without a better loss."""

_START = 2.0  # log α: most gates open
_PRICE_RATE = 100.0  # of the size's Lagrange multipliers, which rise while there are too many edges


@dataclass(frozen=True)
class EdgePruning:
    """Hard-concrete gates on all edges, trained to a small metric at a given expected number of open gates.

    Each step is one masked run with gates drawn at random, and the slope of the metric in every gate. The
    number of open gates is held at its goal by a Lagrange term, linear and quadratic. In the end the `top_n`
    edges whose gates are the most likely to be open are kept and dead ends are pruned. The metric is the
    task's, measured in units of what ablating everything does to it.

    Parameters
    ----------
    top_n
        Wanted number of edges, at least 1.
    steps
        Training steps at most; fewer if nothing gets better (`PATIENCE`).
    learning_rate
        Adam's, for the gates' log α.
    seed
        Of the gates' noise.
    """

    name: ClassVar[str] = "edge-pruning"

    top_n: int
    steps: int = 300
    learning_rate: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        Selection(top_n=self.top_n)
        if type(self.steps) is not int or self.steps < 1:
            raise KCircuitsError(f"steps must be a whole number, at least 1; got {self.steps!r}")
        if not (isinstance(self.learning_rate, int | float) and 0 < self.learning_rate < 100):
            raise KCircuitsError(f"learning_rate must be a positive number, got {self.learning_rate!r}")
        if type(self.seed) is not int or self.seed < 0:
            raise KCircuitsError(f"seed must be a whole number, at least 0; got {self.seed!r}")

    @property
    def settings(self) -> dict[str, Any]:
        """The options."""
        return asdict(self)

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Refuse a task whose corrupt prompts are the clean ones."""
        check_together(spec, self.name)
        check_differences(task)

    def search(self, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None) -> Found:
        """Train; the score of an edge is the probability that its gate is open."""
        engine = engine_of(spec, task, memory)
        goal = min(self.top_n, spec.graph.num_edges)
        training = _Training(self, engine, goal, memory)
        steps = training.run(progress)
        open_gates = training.probabilities()
        mask = select(spec.graph, open_gates, Selection(top_n=goal))
        return Found(edges_of(spec.graph, mask, open_gates), None, {"steps": steps}, open_gates)


class _Training:
    """The gates and the price of an edge."""

    def __init__(self, options: EdgePruning, engine: Engine, goal: int, memory: int) -> None:
        self.options, self.engine, self.goal = options, engine, goal
        self.valid = torch.from_numpy(engine.graph.valid)
        self.num_edges = engine.graph.num_edges
        self.generator = torch.Generator().manual_seed(options.seed)
        self.log_alpha = torch.where(self.valid, _START, 0.0).requires_grad_()
        self.optimiser = torch.optim.Adam([self.log_alpha], lr=options.learning_rate)
        self.prices = torch.zeros(2)
        both = np.stack([engine.graph.valid, np.zeros_like(engine.graph.valid)])
        full, empty = engine.measure(both, memory)
        if faithfulness(full, full, empty) is None:
            raise KCircuitsError("edge-pruning: ablating every edge changes nothing on these prompts")
        self.full, self.unit = full, abs(empty - full)

    def run(self, progress: ProgressCallback | None) -> int:
        """Train; returns the number of steps."""
        best, since = float("inf"), 0
        average: float | None = None
        for step in range(1, self.options.steps + 1):
            goal = self._goal(step)
            loss, size = self._step(goal)
            average = loss if average is None else 0.9 * average + 0.1 * loss
            if progress is not None:
                note = f"{size:,.0f} edges open, loss {average:.3f}"
                progress(Steps(step, self.options.steps, "training steps", note))
            if goal > self.goal or size > 1.1 * self.goal:
                continue
            since = 0 if average < best - 0.01 * abs(best) or best == float("inf") else since + 1
            best = min(best, average)
            if since >= PATIENCE:
                return step
        return self.options.steps

    def _goal(self, step: int) -> float:
        share = min(1.0, step / (WARM_UP * self.options.steps))
        return float(self.num_edges * (self.goal / self.num_edges) ** share)

    def _step(self, goal: float) -> tuple[float, float]:
        """One step towards a number of open gates; the loss above the full model's, and the number before."""
        drawn = gates.sample(self.log_alpha, self.generator)
        metric, slope = self.engine.soft_run(drawn.detach())
        share = gates.probability_open(self.log_alpha)[self.valid].mean()
        excess = share - goal / self.num_edges
        cost = self.prices[0] * excess + self.prices[1] * excess.square()
        self.optimiser.zero_grad()
        ((drawn * slope.to(drawn)).sum() / self.unit + cost).backward()
        self.optimiser.step()
        with torch.no_grad():
            self.prices += _PRICE_RATE * torch.stack([excess, excess.square()])
            self.prices.clamp_(min=0)
        loss = (metric.mean().item() - self.full) / self.unit
        return loss, share.item() * self.num_edges

    def probabilities(self) -> np.ndarray:
        """Probability that each gate is open, float32 [S, R]; 0 where there is no edge."""
        with torch.no_grad():
            result: Tensor = gates.probability_open(self.log_alpha) * self.valid
        return result.numpy()
