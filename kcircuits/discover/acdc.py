"""Exact ACDC (arXiv 2304.14997): edges go, from the output back, while the metric rises by less than τ."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from kcircuits.circuit import Edge
from kcircuits.discover.by_scores import check_differences
from kcircuits.discover.checkpoint import Checkpoint
from kcircuits.discover.method import Found
from kcircuits.discover.progress import Progress, ProgressCallback
from kcircuits.engine import Engine, engine_of
from kcircuits.errors import KCircuitsError
from kcircuits.model.devices import check_together
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task


@dataclass(frozen=True)
class Acdc:
    """ACDC, with the decisions of the sequential algorithm (DESIGN: ACDC, exactly).

    Starting from all edges, receivers are settled from `logits` back to the first layer. An edge is removed
    for good if removing it makes the metric rise by less than the threshold; before the edges of a head's
    query, key or value are tested one by one, all of them are tested at once. The engine evaluates many
    hypotheses in one batch and keeps only those results that the sequential algorithm would have seen, so
    the result does not depend on the memory or on the size of batches (up to rounding).

    Parameters
    ----------
    threshold
        τ, at least 0 and finite, in units of the metric.
    absolute
        Remove an edge if the metric changes, rather than rises, by less than the threshold.
    """

    name: ClassVar[str] = "acdc"

    threshold: float
    absolute: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.threshold, bool) or not isinstance(self.threshold, float | int):
            raise KCircuitsError(f"threshold must be a number, got {self.threshold!r}")
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise KCircuitsError(f"threshold must be a finite number, at least 0; got {self.threshold}")
        object.__setattr__(self, "threshold", float(self.threshold))

    @property
    def settings(self) -> dict[str, Any]:
        """The options."""
        return asdict(self)

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Refuse a task in which ablation changes nothing."""
        check_together(spec, self.name)
        check_differences(task)

    def search(
        self,
        spec: ModelSpec,
        task: Task,
        memory: int,
        progress: ProgressCallback | None,
        checkpoint: Checkpoint | None = None,
    ) -> Found:
        """Run the search; the score of an edge is its effect when it was tested, m(without) − m(with).

        With a checkpoint that has begun, go on from it, and write it about every second and when `progress`
        or Ctrl-C ends the search.
        """
        return self.search_with(engine_of(spec, task, memory), memory, progress, checkpoint)

    def search_with(
        self,
        engine: Engine,
        memory: int,
        progress: ProgressCallback | None,
        checkpoint: Checkpoint | None = None,
    ) -> Found:
        """The same on an engine that is there."""
        graph = engine.graph

        def report(done: Any) -> None:
            if progress is not None:
                progress(
                    Progress(
                        layer=done.layer,
                        num_layers=graph.num_layers,
                        num_edges=graph.num_edges,
                        edges_settled=done.edges_settled,
                        edges_removed=done.edges_removed,
                        tests=done.tests,
                    )
                )

        with checkpoint.searching() if checkpoint else nullcontext():
            result = engine.acdc(
                self.threshold,
                absolute=self.absolute,
                memory=memory,
                progress=report,
                checkpoint=checkpoint,
            )
        edges = tuple(
            Edge(graph.senders[edge.sender], graph.receivers[edge.receiver], edge.effect)
            for edge in result.edges
        )
        stats = {"tests": result.tests, "evaluations": result.evaluations, "chunks": result.chunks}
        return Found(edges, result.circuit_metric, stats)
