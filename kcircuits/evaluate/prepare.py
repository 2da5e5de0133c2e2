"""What everything that measures begins with: the model as it was searched, and the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from kcircuits.data.prompts import Prompt
from kcircuits.errors import KCircuitsError
from kcircuits.metrics import Metric
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.model.transforms import changed
from kcircuits.task import Ablation, Task


class Found(Protocol):
    """What was found in a model with some settings: a circuit, or the scores of all edges."""

    @property
    def settings(self) -> dict[str, Any]:
        """How it was found."""
        ...

    def check_model(self, identity: dict[str, Any]) -> None:
        """Raise KCircuitsError if it belongs to another model."""
        ...


def spec_and_task(
    found: Found,
    model: Model,
    prompts: Sequence[Prompt],
    ablation: Ablation | None,
    metric: Metric | None,
    reference: Sequence[Prompt] = (),
) -> tuple[ModelSpec, Task]:
    """The model, changed as it was for the search (`kcircuits.model.transforms`), and the task.

    Where ablation and metric are not given they are those of the search, or else "zero" and "nll".

    Raises
    ------
    KCircuitsError
        If it was found in another model, or the prompts lack what ablation and metric need.
    """
    found.check_model(model.identity)
    how = ablation or found.settings.get("ablation", "zero")
    if how.startswith("mean") and found.settings.get("num_reference") and not reference:
        raise KCircuitsError(
            "it was found with reference prompts for mean ablation, and without them the means are others: "
            "give them again (--reference-prompts)"
        )
    task = Task(tuple(prompts), how, metric or found.settings.get("metric", "nll"), tuple(reference))
    spec = changed(
        model.spec,
        fold_value_biases=is_folded(found),
        keep_positions=found.settings.get("keep_positions") is True,
    )
    return spec, task


def is_folded(found: Found) -> bool:
    """Whether value biases were folded into the attention output's when it was found."""
    return found.settings.get("fold_value_biases") is True


def check_whole(name: str, value: Any, least: int = 0) -> None:
    """Raise KCircuitsError unless the value of an argument is a whole number and at least `least`."""
    if type(value) is not int or value < least:
        raise KCircuitsError(f"{name} must be a whole number, at least {least}; got {value!r}")
