"""Information-flow routes (arXiv 2403.00824): what a receiver's stream is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from kcircuits.discover.progress import ProgressCallback
from kcircuits.engine import engines
from kcircuits.model.spec import ModelSpec
from kcircuits.needs import placement_for_search
from kcircuits.task import Task


@dataclass(frozen=True)
class Ifr:
    """The share of each sender in its receiver's stream, by proximity; no metric and no ablation.

    proximity(s, x) = max(0, ‖x‖₁ − ‖x − a_s‖₁), divided by the sum over senders, averaged over positions
    and prompts. A key or value that a group of heads shares counts once for each head. Position embeddings
    that are kept (`keep_positions`) are no part of `input`, and have no share.
    """

    name: ClassVar[str] = "ifr"

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Any task will do."""

    def scores(
        self, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None
    ) -> np.ndarray:
        """One forward pass."""
        plain = replace(task, ablation="zero")
        total = np.zeros(spec.graph.valid.shape)
        placement = placement_for_search("ifr", spec, task.prompts, kept=False)
        for engine in engines(spec, plain, memory, placement):
            total += engine.flow_scores().double().cpu().numpy()
        mean: np.ndarray = total / len(task.prompts)
        return mean
