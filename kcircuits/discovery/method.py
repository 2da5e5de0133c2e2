"""What a method of discovery is, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from kcircuits.runtime.option_fields import settings_of

if TYPE_CHECKING:
    import numpy as np

    from kcircuits.circuit import Edge
    from kcircuits.discovery.checkpoint import Checkpoint
    from kcircuits.discovery.progress import ProgressCallback
    from kcircuits.engine import Engine
    from kcircuits.engine.needs import Sizes
    from kcircuits.graph import Graph
    from kcircuits.model.spec import ModelSpec
    from kcircuits.sizes.options import SizeOptions
    from kcircuits.task import Task


@dataclass(frozen=True)
class Found:
    """What a search found.

    Parameters
    ----------
    edges
        The circuit's edges with their scores.
    metric
        The circuit's metric as the search knows it, or None if it does not.
    stats
        What it cost: `tests`, `evaluations` and more.
    scores
        The scores of all edges, float32 [S, R], or None if the method has none.
    """

    edges: tuple[Edge, ...]
    metric: float | None
    stats: dict[str, int]
    scores: np.ndarray | None = None


@dataclass(frozen=True)
class Work:
    """What a search over one portion of the prompts is made of, for `kcircuits.plan`.

    Parameters
    ----------
    runs
        Runs with gradients.
    together
        How many of them can go in one batch.
    begins_anywhere
        Whether runs begin at the node that they hold, so that they take half the time on average.
    tests
        Masked runs of single edges, at most.
    steps
        Training steps, at most.
    """

    runs: int = 0
    together: int = 1
    begins_anywhere: bool = False
    tests: int = 0
    steps: int = 0


@dataclass(frozen=True)
class Forecast:
    """How long a search is expected to take.

    Parameters
    ----------
    seconds
        The expectation.
    low, high
        The central 80% of the simulations; the truth lies outside more often than that suggests.
    finished
        Whether the probe has run the whole search.
    """

    seconds: float
    low: float
    high: float
    finished: bool


@dataclass(frozen=True)
class Method:
    """A method with its options, checked when it is made: a frozen dataclass whose fields are the options.

    A class says what it can do:

    * `name`: what it is called outside of Python.
    * `summary`: what it does, in one plain sentence.
    * `scores_all_edges`: it gives every edge a score, and a circuit is selected from these.
    * `writes_scores`: a search with it can write a file of scores of all edges.
    * `resumes`: a search goes on from a checkpoint.
    * `several_devices`: it runs on a model whose layers lie on several devices.
    * `takes_all_prompts`: it needs all prompts in memory at once, as every decision depends on all of them.
    * `has_gradients`: it is made of runs with gradients (`kcircuits.discovery.eap.GradientScorer`).
    * `keeps_a_run`: a method with gradients that keeps the plain run beside those it goes through.
    * `reads_ablated`: it reads what absent edges carry.
    * `tests_fewer`: a search runs far fewer tests than `work` counts, so a plan's time is an upper bound.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    scores_all_edges: ClassVar[bool] = False
    writes_scores: ClassVar[bool] = True
    resumes: ClassVar[bool] = False
    several_devices: ClassVar[bool] = False
    takes_all_prompts: ClassVar[bool] = False
    has_gradients: ClassVar[bool] = False
    keeps_a_run: ClassVar[bool] = False
    reads_ablated: ClassVar[bool] = True
    tests_fewer: ClassVar[bool] = False

    @property
    def settings(self) -> dict[str, Any]:
        """The options as JSON values, by the names that circuit.json has for them."""
        return settings_of(self)

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Raise KCircuitsError if the method cannot do this task."""

    def resolve(self, spec: ModelSpec, task: Task, memory: int) -> tuple[Method, dict[str, str]]:
        """Decide the options that were left to the task, before a search.

        Returns
        -------
        The method with all options decided, and for each that was derived the reason in words.
        """
        return self, {}

    def work(self, graph: Graph) -> Work:
        """What a search over one portion is made of; nothing: one plain run."""
        return Work()

    def probe(self, spec: ModelSpec, engine: Engine, memory: int) -> Forecast | None:
        """Run a few seconds of the search and forecast its time; None where `work` says it exactly."""
        return None

    def workspace(self, sizes: Sizes, memory: int, largest_chunk: int | None = None) -> int:
        """Bytes beside the engine of a method without gradients (`kcircuits.engine.needs`)."""
        raise NotImplementedError

    def at_sizes(self, options: SizeOptions, num_edges: int, effect: float) -> tuple[Method, ...]:
        """The searches that give circuits of several sizes, for `kcircuits.compare_sizes`.

        Parameters
        ----------
        options
            Of the comparison.
        num_edges
            Edges of the full graph.
        effect
            What ablating every edge does to the metric, at least 0.
        """
        return (self,)


class Search(Method):
    """A method that finds a circuit in one go."""

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Refuse layers on several devices, and a task in which ablation changes nothing."""
        from kcircuits.discovery.by_scores import check_differences
        from kcircuits.model.devices import check_together

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
        """Find the circuit, with `memory` bytes for what is evaluated together."""
        raise NotImplementedError


class Scorer(Method):
    """A method that scores all edges."""

    scores_all_edges: ClassVar[bool] = True

    def scores(
        self, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None
    ) -> np.ndarray:
        """Score every edge, averaged over prompts, [S, R]; positive: ablating it makes the metric worse."""
        raise NotImplementedError
