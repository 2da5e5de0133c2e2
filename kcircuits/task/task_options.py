"""The options of a task: everything except its prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from kcircuits.data.metrics import Metric
from kcircuits.runtime.option_fields import Options, option

if TYPE_CHECKING:
    from kcircuits.data.prompts import Prompt

Ablation = Literal["zero", "corrupt", "mean", "mean-positional"]


@dataclass(frozen=True)
class TaskOptions(Options):
    """All fields of a task except the prompts (`kcircuits.task.Task` defines them)."""

    title: ClassVar[str] = "Task"

    ablation: Ablation | None = option(
        None,
        help="Value that a removed edge carries.",
        default_text="corrupt if every prompt has a corrupt one, else zero",
    )
    metric: Metric = option("nll", help="Metric to preserve.")
    reference: tuple[Prompt, ...] = ()
    fold_value_biases: bool = option(
        False, help="Move value biases into the attention output's bias, which is never ablated."
    )
    keep_positions: bool = option(False, help="Never ablate learned position embeddings, as EAP-IG does.")

    @property
    def needs_partners(self) -> bool:
        """Whether facts of a relation need corrupt prompts: not if an ablation without them is chosen."""
        return self.ablation in (None, "corrupt") or self.metric == "logit-diff"
