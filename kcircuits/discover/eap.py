"""EAP and its relatives: (ã − a) · ∂metric/∂x summed over positions (DESIGN: gradient scores)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from kcircuits.discover.progress import ProgressCallback
from kcircuits.discover.summed import mean_of_parts, scores_of_parts
from kcircuits.engine import Counter, Engine, Rule
from kcircuits.errors import KCircuitsError
from kcircuits.layouts import check_senders
from kcircuits.memory import Senders
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task

IG_STEPS = 5


@dataclass(frozen=True)
class PathScorer:
    """Scores from the gradients of runs between the ablated and the clean input.

    Parameters
    ----------
    qk_fix
        For queries and keys, compute the attention pattern anew with the edge ablated and contract its
        change with the gradient there, instead of going through the softmax's slope (AtP*, arXiv 2403.00745).
        Not for models in which one norm spans the queries of all heads.
    senders
        How the outputs of all senders are kept: "memory", "host" or "recomputed", which give the same scores;
        "bfloat16", which changes them a little; or "auto" for the first of the exact ones that fits
        (`kcircuits.layouts`).
    """

    name: ClassVar[str]
    rule: ClassVar[Rule] = "gradient"

    qk_fix: bool = False
    senders: Senders = "auto"

    @property
    def points(self) -> list[float]:
        """Where the runs are: 0 is the ablated input, 1 the clean one."""
        return [1.0]

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Refuse kl where all runs are the full model's, at which it has no slope."""
        _check_correction(spec, self.qk_fix)
        check_senders(self.senders, spec)
        if task.metric == "kl" and self.points == [1.0]:
            raise KCircuitsError(
                f"{self.name} cannot use the metric kl: it is least at the full model, where its slope is 0. "
                "Use nll or logit-diff, or the method eap-ig-inputs"
            )

    def scores(
        self, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None
    ) -> np.ndarray:
        """A forward and a backward pass for each point, several in one batch."""
        return mean_of_parts(scores_of_parts(self, spec, task, memory, progress))

    def runs(self, spec: ModelSpec) -> int:
        """One for each point."""
        return len(self.points)

    def of_portion(self, engine: Engine, memory: int, count: Counter) -> Tensor:
        """The sum over the engine's prompts, [S, R]."""
        return engine.path_scores(
            self.points, rule=self.rule, qk_fix=self.qk_fix, memory=memory, progress=count
        )


@dataclass(frozen=True)
class Eap(PathScorer):
    """Edge attribution patching (arXiv 2310.10348): the gradient of the clean run."""

    name: ClassVar[str] = "eap"


@dataclass(frozen=True)
class Relp(PathScorer):
    """EAP with relevance propagation's backward rules (RelP, arXiv 2508.21258).

    A norm's scale and the attention pattern are held constant, f(x) passes the gradient times f(x) / x, and
    each factor of a gated product gets half. Queries and keys score 0, unless `qk_fix` computes their
    patterns anew.
    """

    name: ClassVar[str] = "relp"
    rule: ClassVar[Rule] = "relevance"


@dataclass(frozen=True)
class CleanCorrupted(PathScorer):
    """The mean of the gradients at the clean and at the corrupt run (arXiv 2403.17806)."""

    name: ClassVar[str] = "clean-corrupted"

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
class EapIgInputs(PathScorer):
    """EAP with integrated gradients over the input (arXiv 2403.17806).

    The gradient is averaged over runs whose `input` is ã + k/n (a − ã) for k = 0 … n − 1, as in EAP-IG's
    library.

    Parameters
    ----------
    ig_steps
        n, at least 1.
    qk_fix, senders
        As for `PathScorer`, in each of the runs.
    """

    name: ClassVar[str] = "eap-ig-inputs"

    ig_steps: int = IG_STEPS

    def __post_init__(self) -> None:
        _check_steps(self.ig_steps)

    @property
    def points(self) -> list[float]:
        """From the ablated input on, the clean one left out."""
        return [k / self.ig_steps for k in range(self.ig_steps)]


@dataclass(frozen=True)
class EapIgActivations:
    """EAP with integrated gradients over activations.

    The gradient is averaged over runs that hold one node's output (all heads of a layer together) at
    ã + k/n (a − ã) for k = 1 … n, for all nodes in turn.

    Parameters
    ----------
    ig_steps
        n, at least 1.
    qk_fix, senders
        As for `PathScorer`, in each of the runs.
    """

    name: ClassVar[str] = "eap-ig-activations"

    ig_steps: int = IG_STEPS
    qk_fix: bool = False
    senders: Senders = "auto"

    def __post_init__(self) -> None:
        _check_steps(self.ig_steps)

    def check(self, spec: ModelSpec, task: Task) -> None:
        """Any task will do."""
        _check_correction(spec, self.qk_fix)
        check_senders(self.senders, spec)

    def scores(
        self, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None
    ) -> np.ndarray:
        """n passes for each of 2 L + 1 nodes, from the node on."""
        return mean_of_parts(scores_of_parts(self, spec, task, memory, progress))

    def runs(self, spec: ModelSpec) -> int:
        """n for each node."""
        return self.ig_steps * (2 * len(spec.layers) + 1)

    def of_portion(self, engine: Engine, memory: int, count: Counter) -> Tensor:
        """The sum over the engine's prompts, [S, R]."""
        return engine.activation_scores(self.ig_steps, qk_fix=self.qk_fix, memory=memory, progress=count)


def _check_correction(spec: ModelSpec, qk_fix: bool) -> None:
    if qk_fix and any(layer.attention.joint_norms for layer in spec.layers):
        raise KCircuitsError(
            f"qk_fix is not defined for {spec.family}, where one norm spans the queries of all heads"
        )


def _check_steps(steps: object) -> None:
    if type(steps) is not int or steps < 1:
        raise KCircuitsError(f"ig_steps must be a whole number, at least 1; got {steps!r}")
