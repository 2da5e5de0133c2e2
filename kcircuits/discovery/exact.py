"""The exact effect of every edge: what all gradient scores approximate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kcircuits.discovery.method import Scorer, Work

if TYPE_CHECKING:
    import numpy as np

    from kcircuits.discovery.progress import ProgressCallback
    from kcircuits.engine.needs import Sizes
    from kcircuits.graph import Graph
    from kcircuits.model.spec import ModelSpec
    from kcircuits.task import Task


@dataclass(frozen=True)
class Exact(Scorer):
    """Activation patching of single edges: metric with this edge ablated minus the full model's.

    One masked run per edge, batched: only what the edge reaches is computed.
    """

    name: ClassVar[str] = "exact"
    summary: ClassVar[str] = (
        "Measures the effect of every edge by itself; slow, and what the others estimate."
    )

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Any task will do."""
        from kcircuits.model.devices import check_together

        check_together(spec, self.name)

    def work(self, graph: Graph) -> Work:
        """A test for every edge."""
        return Work(tests=graph.num_edges)

    def workspace(self, sizes: Sizes, memory: int, largest_chunk: int | None = None) -> int:
        """The full run, and a chunk of hypotheses of one receiver."""
        from kcircuits.engine import CHUNK_LIMIT
        from kcircuits.engine.needs import exact_workspace

        return exact_workspace(sizes, memory, largest_chunk or CHUNK_LIMIT)

    def scores(
        self, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None
    ) -> np.ndarray:
        """The effects of all edges."""
        return exact_scores(spec, task, spec.graph.valid, memory, progress)


def exact_scores(
    spec: ModelSpec,
    task: Task,
    wanted: np.ndarray,
    memory: int,
    progress: ProgressCallback | None = None,
) -> np.ndarray:
    """The effects of some edges, float64 [S, R], averaged over prompts; 0 where `wanted` [S, R] is False."""
    import numpy as np

    from kcircuits.discovery.progress import Steps
    from kcircuits.engine import engines
    from kcircuits.engine.needs import placement_for_search

    total: np.ndarray = np.zeros(spec.graph.valid.shape)
    edges = int((wanted & spec.graph.valid).sum())
    before = 0

    def count(done: int, _: int) -> None:
        if progress is not None:
            done_so_far = (before * edges + done * engine.num_prompts) // len(task.prompts)
            progress(Steps(done_so_far, edges, "edges"))

    placement = placement_for_search(Exact(), spec, task.prompts, task.ablation != "zero")
    for engine in engines(spec, task, memory, placement):
        effects = engine.exact_scores(wanted, memory=memory, progress=count)
        total += effects.numpy() * engine.num_prompts
        before += engine.num_prompts
    mean: np.ndarray = total / len(task.prompts)
    return mean
