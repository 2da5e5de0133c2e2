"""What everything that measures begins with: the model as it was searched, and the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from kcircuits.data.metrics import Metric
from kcircuits.data.prompts import Prompt
from kcircuits.engine import check_all_fit
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import shown
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
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
    task = Task.as_found(found, prompts, ablation=ablation, metric=metric, reference=reference)
    return prepared(model, task, found), task


def prepared(model: Model, task: Task, found: Found) -> ModelSpec:
    """The model with the task's changes to the graph, for what was found in it.

    Raises KCircuitsError if it was found in another model, or `task` is no task.
    """
    if not isinstance(task, Task):
        raise KCircuitsError(
            f"task must be a Task, got {shown(task)}: write "
            "kcircuits.Task(model.prompts([(text, answer), …])), or Task.as_found(circuit, prompts)"
        )
    found.check_model(model.identity)
    check_all_fit(model.spec, (*task.prompts, *task.reference))
    return task.changed(model.spec)


def check_whole(name: str, value: Any, least: int = 0) -> None:
    """Raise KCircuitsError unless the value of an argument is a whole number and at least `least`."""
    if type(value) is not int or value < least:
        raise KCircuitsError(f"{name} must be a whole number, at least {least}; got {value!r}")
