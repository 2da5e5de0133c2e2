"""Edge pruning (arXiv 2406.16778): a mask over all edges, trained by gradient descent to a given size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from kcircuits.discovery.method import Found, Search, Work
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.runtime.option_fields import option
from kcircuits.scores.selection_options import Selection

if TYPE_CHECKING:
    from kcircuits.discovery.checkpoint import Checkpoint
    from kcircuits.discovery.progress import ProgressCallback
    from kcircuits.engine.needs import Sizes
    from kcircuits.graph import Graph
    from kcircuits.model.spec import ModelSpec
    from kcircuits.sizes.options import SizeOptions
    from kcircuits.task import Task


@dataclass(frozen=True)
class EdgePruning(Search):
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
        Training steps at most; fewer if nothing gets better (`kcircuits.discovery.gate_training.PATIENCE`).
    learning_rate
        Adam's, for the gates' log α.
    seed
        Of the gates' noise.
    """

    name: ClassVar[str] = "edge-pruning"
    summary: ClassVar[str] = "Trains a gate on every edge to a circuit of a given size."
    takes_all_prompts: ClassVar[bool] = True

    top_n: int = option(200, like=(Selection, "top_n"), default_text=None)
    steps: int = option(300, help="Maximum number of training steps.", metavar="N")
    learning_rate: float = option(0.3, help="Learning rate of the training.", metavar="R")
    seed: int = option(0, help="Seed of all random draws.", metavar="S")

    def __post_init__(self) -> None:
        if type(self.top_n) is not int or self.top_n < 1:
            raise KCircuitsError(f"top-n must be a whole number from 1 on, got {quote(self.top_n)}")
        if type(self.steps) is not int or self.steps < 1:
            raise KCircuitsError(f"steps must be a whole number, at least 1; got {self.steps!r}")
        if not (isinstance(self.learning_rate, int | float) and 0 < self.learning_rate < 100):
            raise KCircuitsError(f"learning_rate must be a positive number, got {self.learning_rate!r}")
        if type(self.seed) is not int or self.seed < 0:
            raise KCircuitsError(f"seed must be a whole number, at least 0; got {self.seed!r}")

    def work(self, graph: Graph) -> Work:
        """Its training steps, at most."""
        return Work(steps=self.steps)

    def workspace(self, sizes: Sizes, memory: int, largest_chunk: int | None = None) -> int:
        """One masked run and its gradients."""
        from kcircuits.engine.needs import pruning_workspace

        return pruning_workspace(sizes)

    def at_sizes(self, options: SizeOptions, num_edges: int, effect: float) -> tuple[EdgePruning, ...]:
        """One training for each size."""
        # A graph can be so small that a share of it is less than one edge.
        sizes = dict.fromkeys(max(1, int(share * num_edges)) for share in options.pruning_fractions)
        return tuple(replace(self, top_n=size) for size in sizes)

    def search(
        self,
        spec: ModelSpec,
        task: Task,
        memory: int,
        progress: ProgressCallback | None,
        checkpoint: Checkpoint | None = None,
    ) -> Found:
        """Train; the score of an edge is the probability that its gate is open."""
        from kcircuits.discovery.gate_training import Training
        from kcircuits.engine import engine_of
        from kcircuits.scores import edges_of
        from kcircuits.scores.selection import Selection, select

        engine = engine_of(spec, task, memory)
        goal = min(self.top_n, spec.graph.num_edges)
        training = Training(self, engine, goal, memory)
        steps = training.run(progress)
        open_gates = training.probabilities()
        mask = select(spec.graph, open_gates, Selection(top_n=goal))
        return Found(edges_of(spec.graph, mask, open_gates), None, {"steps": steps}, open_gates)
