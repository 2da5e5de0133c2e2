"""Training the gates of edge pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kcircuits.data.metrics import faithfulness
from kcircuits.discovery import gates
from kcircuits.discovery.progress import ProgressCallback, Steps
from kcircuits.engine import Engine
from kcircuits.errors import KCircuitsError

if TYPE_CHECKING:
    from kcircuits.discovery.edge_pruning import EdgePruning

WARM_UP = 0.6
"""Share of the steps in which the size goal falls from all edges to the wanted number, by equal factors."""

PATIENCE = 40
"""Training ends early after so many steps at the wanted size without a better loss."""

_START = 2.0  # log α: most gates open
_PRICE_RATE = 100.0  # of the size's Lagrange multipliers, which rise while there are too many edges


class Training:
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
