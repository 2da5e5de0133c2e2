"""Exact ACDC (arXiv 2304.14997): edges go, from the output back, while the metric rises by less than τ."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from kcircuits.discovery.method import Forecast, Found, Search, Work
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.option_fields import option
from kcircuits.scores.selection_options import Selection

if TYPE_CHECKING:
    from kcircuits.discovery.checkpoint import Checkpoint
    from kcircuits.discovery.progress import ProgressCallback
    from kcircuits.engine import Engine
    from kcircuits.engine.needs import Sizes
    from kcircuits.graph import Graph
    from kcircuits.model.spec import ModelSpec
    from kcircuits.sizes.options import SizeOptions
    from kcircuits.task import Task

THRESHOLD_SHARES = (0.1, 0.03, 0.01, 0.003)
"""Thresholds of a comparison of sizes where none are given: shares of what ablating every edge does."""


@dataclass(frozen=True)
class Acdc(Search):
    """ACDC, with the decisions of the sequential algorithm (arXiv 2304.14997).

    Starting from all edges, receivers are settled from `logits` back to the first layer. An edge is removed
    for good if removing it makes the metric rise by less than the threshold; before the edges of a head's
    query, key or value are tested one by one, all of them are tested at once. The engine evaluates many
    hypotheses in one batch and keeps only those results that the sequential algorithm would have seen, so
    the result does not depend on the memory or on the size of batches (up to rounding).

    Parameters
    ----------
    threshold
        τ, at least 0 and finite, in units of the metric. None takes 1% of the metric's range between all
        edges and none (`kcircuits.discovery.defaults`); the circuit's settings hold the value.
    absolute
        Remove an edge if the metric changes, rather than rises, by less than the threshold.
    """

    name: ClassVar[str] = "acdc"
    summary: ClassVar[str] = (
        "Tests edges one after the other, from the logits back, and removes those without effect."
    )
    writes_scores: ClassVar[bool] = False
    resumes: ClassVar[bool] = True
    takes_all_prompts: ClassVar[bool] = True
    tests_fewer: ClassVar[bool] = True

    threshold: float | None = option(
        None, like=(Selection, "threshold"), default_text="1% of the metric's range"
    )
    absolute: bool = option(False, like=(Selection, "absolute"))

    def __post_init__(self) -> None:
        if self.threshold is None:
            return
        if isinstance(self.threshold, bool) or not isinstance(self.threshold, float | int):
            raise KCircuitsError(f"threshold must be a number, got {self.threshold!r}")
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise KCircuitsError(f"threshold must be a finite number, at least 0; got {self.threshold}")
        object.__setattr__(self, "threshold", float(self.threshold))

    def resolve(self, spec: ModelSpec, task: Task, memory: int) -> tuple[Acdc, dict[str, str]]:
        """Derive the threshold from the metric's range, where none was given."""
        if self.threshold is not None:
            return self, {}
        from kcircuits.discovery.defaults import derive_threshold

        threshold, reason = derive_threshold(spec, task, memory)
        return replace(self, threshold=threshold), {"threshold": reason}

    def work(self, graph: Graph) -> Work:
        """A test for every edge and every receiver of a head."""
        whole = sum(shape.num_attention_receivers for shape in graph.layers)
        return Work(tests=graph.num_edges + whole)

    def probe(self, spec: ModelSpec, engine: Engine, memory: int) -> Forecast:
        """Run the beginning of the search, and simulate the rest (`kcircuits.discovery.acdc_probe`)."""
        from kcircuits.discovery.acdc_probe import probe_search, weights_passed

        assert self.threshold is not None, "resolve() decides it"
        return probe_search(engine, weights_passed(spec), self.threshold, self.absolute, memory)

    def workspace(self, sizes: Sizes, memory: int, largest_chunk: int | None = None) -> int:
        """The present run, its gradients, and a chunk of hypotheses."""
        from kcircuits.engine import acdc_chunk
        from kcircuits.engine.needs import acdc_workspace

        return acdc_workspace(sizes, memory, largest_chunk or acdc_chunk(sizes.spec, sizes.prompts))

    def at_sizes(self, options: SizeOptions, num_edges: int, effect: float) -> tuple[Acdc, ...]:
        """One search for each threshold."""
        thresholds = options.thresholds
        if thresholds is None:
            thresholds = tuple(share * effect for share in THRESHOLD_SHARES)
        return tuple(replace(self, threshold=threshold) for threshold in thresholds)

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
        from kcircuits.engine import engine_of

        return self.search_with(engine_of(spec, task, memory), memory, progress, checkpoint)

    def search_with(
        self,
        engine: Engine,
        memory: int,
        progress: ProgressCallback | None,
        checkpoint: Checkpoint | None = None,
    ) -> Found:
        """The same on an engine that is there."""
        from kcircuits.circuit import Edge
        from kcircuits.discovery.progress import Progress

        graph = engine.graph
        if self.threshold is None:
            raise KCircuitsError("acdc on an engine needs a threshold; kcircuits.discover derives one")

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
