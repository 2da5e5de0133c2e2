"""What a circuit is for: prompts, what takes an absent edge's place, and the metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from kcircuits.errors import KCircuitsError
from kcircuits.metrics import Metric

if TYPE_CHECKING:
    from kcircuits.data.prompts import Prompt

Ablation = Literal["zero", "corrupt", "mean", "mean-positional"]


@dataclass(frozen=True)
class Task:
    """Prompts that a circuit is searched for or measured on.

    Parameters
    ----------
    prompts
        At least one; they may differ in length.
    ablation
        What an absent edge carries: `zero`; its sender's output in a plain run on the `corrupt` prompt; or
        its sender's `mean` output in plain runs on the reference's clean prompts, over all their tokens, or
        over those at the same position, counted from the prompt's start (`mean-positional`).
    metric
        See `kcircuits.metrics`.
    reference
        Prompts for the mean ablations; none: those of the task.

    Raises
    ------
    KCircuitsError
        If a name is unknown, there is no prompt, or a prompt lacks what the ablation or the metric needs,
        or is longer than all of the reference.
    """

    prompts: tuple[Prompt, ...]
    ablation: Ablation = "zero"
    metric: Metric = "nll"
    reference: tuple[Prompt, ...] = ()

    def __post_init__(self) -> None:
        _check_name("ablation", self.ablation, get_args(Ablation))
        _check_name("metric", self.metric, get_args(Metric))
        if not self.prompts:
            raise KCircuitsError("there are no prompts")
        for number, prompt in enumerate(self.prompts, start=1):
            if self.ablation == "corrupt" and prompt.corrupt_ids is None:
                raise KCircuitsError(
                    f"corrupt ablation needs a corrupt prompt for every prompt, and prompt {number} has "
                    "none: give one, or use zero ablation"
                )
            if self.metric == "logit-diff" and prompt.wrong_id is None:
                raise KCircuitsError(
                    "the metric logit-diff needs a wrong answer for every prompt, and prompt "
                    f"{number} has none: give one, or use nll or kl"
                )

        if self.ablation == "mean-positional" and self.reference:
            known = max(len(prompt.clean_ids) for prompt in self.reference)
            longest = max(len(prompt.clean_ids) for prompt in self.prompts)
            if longest > known:
                raise KCircuitsError(
                    f"mean-positional ablation has means for {known} positions, the reference's longest "
                    f"prompt, and a prompt has {longest} tokens: give a longer reference, or use mean"
                )

    @property
    def is_mean(self) -> bool:
        """Whether absent edges carry a mean."""
        return self.ablation in ("mean", "mean-positional")


def _check_name(kind: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise KCircuitsError(f"{kind} must be one of {', '.join(known)}; got {value!r}")
