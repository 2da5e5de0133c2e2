"""Information-flow routes (arXiv 2403.00824): what a receiver's stream is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from kcircuits.discovery.method import Scorer

if TYPE_CHECKING:
    import numpy as np

    from kcircuits.discovery.progress import ProgressCallback
    from kcircuits.engine.needs import Sizes
    from kcircuits.model.spec import ModelSpec
    from kcircuits.task import Task


@dataclass(frozen=True)
class Ifr(Scorer):
    """The share of each sender in its receiver's stream, by proximity; no metric and no ablation.

    proximity(s, x) = max(0, ‖x‖₁ − ‖x − a_s‖₁), divided by the sum over senders, averaged over positions
    and prompts. A key or value that a group of heads shares counts once for each head. Position embeddings
    that are kept (`keep_positions`) are no part of `input`, and have no share.
    """

    name: ClassVar[str] = "ifr"
    summary: ClassVar[str] = (
        "Measures each sender's share of a receiver's stream; needs no metric and no ablation."
    )
    several_devices: ClassVar[bool] = True
    reads_ablated: ClassVar[bool] = False

    def workspace(self, sizes: Sizes, memory: int, largest_chunk: int | None = None) -> int:
        """The run's outputs once more."""
        from kcircuits.engine.needs import flow_workspace

        return flow_workspace(sizes)

    def scores(
        self, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None
    ) -> np.ndarray:
        """One forward pass."""
        import numpy as np

        from kcircuits.engine import engines
        from kcircuits.engine.needs import placement_for_search

        plain = replace(task, ablation="zero")
        total = np.zeros(spec.graph.valid.shape)
        placement = placement_for_search(self, spec, task.prompts, kept=False)
        for engine in engines(spec, plain, memory, placement):
            total += engine.flow_scores().double().cpu().numpy()
        mean: np.ndarray = total / len(task.prompts)
        return mean
