"""EAP and its relatives: (ã − a) · ∂metric/∂x summed over positions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kcircuits.discovery.method import Scorer, Work
from kcircuits.errors import KCircuitsError
from kcircuits.runtime.memory import Senders
from kcircuits.runtime.option_fields import option

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from kcircuits.discovery.progress import ProgressCallback
    from kcircuits.engine import Counter, Engine, Rule
    from kcircuits.graph import Graph
    from kcircuits.model.spec import ModelSpec
    from kcircuits.task import Task

IG_STEPS = 5
LARGEST_EXPONENT = 38
"""Of a float32, to the base 10."""


@dataclass(frozen=True)
class GradientScorer(Scorer):
    """Scores that are sums over prompts, from runs with gradients.

    Parameters
    ----------
    qk_fix
        For queries and keys, compute the attention pattern anew with the edge ablated and contract its
        change with the gradient there, instead of going through the softmax's slope (AtP*, arXiv 2403.00745).
        Not for models in which one norm spans the queries of all heads.
    senders
        How the outputs of all senders are kept: "memory", "host" or "recomputed", which give the same scores;
        "bfloat16", which changes them a little; or "auto" for the first of the exact ones that fits
        (`kcircuits.engine.layouts`).
    """

    several_devices: ClassVar[bool] = True
    has_gradients: ClassVar[bool] = True

    qk_fix: bool = option(
        False,
        help="Recompute the attention pattern for queries and keys instead of linearising it, as AtP* does.",
    )
    senders: Senders = option(
        "auto",
        help="How to keep the outputs of all senders. bfloat16 changes scores a little; auto takes the first "
        "of memory, host (on a GPU) and recomputed in which all prompts fit.",
        group="Run",
    )

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Refuse options that the model does not allow."""
        from kcircuits.engine.layouts import check_senders

        _check_correction(spec, self.qk_fix)
        check_senders(self.senders, spec)

    def scores(
        self, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None
    ) -> np.ndarray:
        """The mean over prompts."""
        from kcircuits.discovery.summed import mean_of_parts, scores_of_parts

        return mean_of_parts(scores_of_parts(self, spec, task, memory, progress))

    def of_portion(self, engine: Engine, memory: int, count: Counter) -> Tensor:
        """The scores of an engine's prompts, summed over these, [S, R]."""
        raise NotImplementedError


@dataclass(frozen=True)
class PathScorer(GradientScorer):
    """Scores from the gradients of runs between the ablated and the clean input."""

    rule: ClassVar[Rule] = "gradient"

    @property
    def points(self) -> list[float]:
        """Where the runs are: 0 is the ablated input, 1 the clean one."""
        return [1.0]

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Refuse kl where all runs are the full model's, at which it has no slope."""
        super().check(spec, task)
        if task.metric == "kl" and self.points == [1.0]:
            raise KCircuitsError(
                f"{self.name} cannot use the metric kl: it is least at the full model, where its slope is 0. "
                "Use nll or logit-diff, or the method eap-ig-inputs"
            )

    def work(self, graph: Graph) -> Work:
        """A run for each point; those of several prompts and points go in one batch."""
        return Work(runs=len(self.points), together=len(self.points))

    def of_portion(self, engine: Engine, memory: int, count: Counter) -> Tensor:
        """A forward and a backward pass for each point."""
        return engine.path_scores(
            self.points, rule=self.rule, qk_fix=self.qk_fix, memory=memory, progress=count
        )


@dataclass(frozen=True)
class Eap(PathScorer):
    """Edge attribution patching (arXiv 2310.10348): the gradient of the clean run."""

    name: ClassVar[str] = "eap"
    summary: ClassVar[str] = "One gradient at the clean run."


@dataclass(frozen=True)
class Relp(PathScorer):
    """EAP with relevance propagation's backward rules (RelP, arXiv 2508.21258).

    A norm's scale and the attention pattern are held constant, f(x) passes the gradient times f(x) / x, and
    each factor of a gated product gets half. Queries and keys score 0, unless `qk_fix` computes their
    patterns anew.
    """

    name: ClassVar[str] = "relp"
    summary: ClassVar[str] = "EAP with relevance rules for the backward pass."
    rule: ClassVar[Rule] = "relevance"


@dataclass(frozen=True)
class CleanCorrupted(PathScorer):
    """The mean of the gradients at the clean and at the corrupt run (arXiv 2403.17806)."""

    name: ClassVar[str] = "clean-corrupted"
    summary: ClassVar[str] = "The mean of the gradients at the clean and at the corrupt run."

    @property
    def points(self) -> list[float]:
        """Both ends."""
        return [1.0, 0.0]

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Refuse other ablations than corrupt, which have no second run."""
        super().check(spec, task)
        if task.ablation != "corrupt":
            raise KCircuitsError(
                f"clean-corrupted needs corrupt ablation, got {task.ablation}: give --ablation corrupt and "
                "corrupt prompts, or use eap-ig-inputs"
            )


@dataclass(frozen=True)
class IntegratedScorer(GradientScorer):
    """Scores from gradients averaged over n runs between ablated and clean activations.

    Parameters
    ----------
    steps
        n, at least 1. The command line and files call it "ig_steps".
    qk_fix, senders
        As for `GradientScorer`, in each run.
    """

    steps: int = option(IG_STEPS, help="Steps of integrated gradients.", metavar="N", name="ig_steps")

    def __post_init__(self) -> None:
        if type(self.steps) is not int or self.steps < 1:
            raise KCircuitsError(f"ig_steps must be a whole number, at least 1; got {self.steps!r}")


@dataclass(frozen=True)
class EapIg(IntegratedScorer, PathScorer):
    """EAP with integrated gradients over the input (arXiv 2403.17806).

    The gradient is averaged over runs whose `input` is ã + k/n (a − ã) for k = 0 … n − 1, as in EAP-IG's
    library.
    """

    name: ClassVar[str] = "eap-ig-inputs"
    summary: ClassVar[str] = "Gradients averaged over runs between the ablated and the clean input."

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Refuse a path from a stream of zeros through more norms than float32 can hold the gradient of."""
        super().check(spec, task)
        if task.ablation == "zero" and _gradient_at_zeros_overflows(task.transform_spec(spec)):
            raise KCircuitsError(
                f"{self.name} with zero ablation begins at a stream of zeros, where the gradient through the "
                f"norms of {len(spec.layers)} layers overflows: give corrupt prompts and use corrupt "
                "ablation, or use mean ablation or the method eap"
            )

    @property
    def points(self) -> list[float]:
        """From the ablated input on, the clean one left out."""
        return [k / self.steps for k in range(self.steps)]


@dataclass(frozen=True)
class EapIgActivations(IntegratedScorer):
    """EAP with integrated gradients over activations.

    The gradient is averaged over runs that hold one node's output (all heads of a layer together) at
    ã + k/n (a − ã) for k = 1 … n, for all nodes in turn.
    """

    name: ClassVar[str] = "eap-ig-activations"
    summary: ClassVar[str] = "Gradients averaged over runs between each node's ablated and clean output."
    keeps_a_run: ClassVar[bool] = True

    def work(self, graph: Graph) -> Work:
        """n runs for each of 2 L + 1 nodes, from the node on."""
        runs = self.steps * (2 * graph.num_layers + 1)
        return Work(runs=runs, together=self.steps, begins_anywhere=True)

    def of_portion(self, engine: Engine, memory: int, count: Counter) -> Tensor:
        """The sum over the engine's prompts, [S, R]."""
        return engine.activation_scores(self.steps, qk_fix=self.qk_fix, memory=memory, progress=count)


def _gradient_at_zeros_overflows(spec: ModelSpec) -> bool:
    """Whether a stream of zeros stays one, and its norms multiply the gradient beyond float32.

    Without biases every block puts out zeros where it reads zeros. There the norm has the slope 1 / √eps, and
    the gradient goes back through the attention of one layer after the other.
    """
    from kcircuits.engine.portions import has_constants

    norms = [layer.attention_norm for layer in spec.layers]
    biased = any(layer.attention.b_v is not None for layer in spec.layers)
    if has_constants(spec) or biased or any(norm.kind != "rmsnorm" for norm in norms):
        return False
    return sum(-0.5 * math.log10(max(norm.eps, 1e-30)) for norm in norms) > LARGEST_EXPONENT


def _check_correction(spec: ModelSpec, qk_fix: bool) -> None:
    if qk_fix and any(layer.attention.joint_norms for layer in spec.layers):
        raise KCircuitsError(
            f"qk_fix is not defined for {spec.family}, where one norm spans the queries of all heads"
        )
