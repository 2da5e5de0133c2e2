"""What everything that measures or reads begins with: the model as the task asks for it, all checked."""

from __future__ import annotations

from typing import Any, Protocol

from kcircuits.engine import check_all_fit
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task, check_task


class Found(Protocol):
    """What was found in a model with some settings: a circuit, or the scores of all edges."""

    @property
    def settings(self) -> dict[str, Any]:
        """How it was found."""
        ...

    def check_model(self, identity: dict[str, Any]) -> None:
        """Raise KCircuitsError if it belongs to another model."""
        ...


def prepared(model: Model, task: Task, found: Found | None = None) -> ModelSpec:
    """The model with the task's changes to the graph, for what was found in it, if anything was.

    Raises KCircuitsError if it was found in another model, `task` is no task, or a prompt does not fit.
    """
    check_task(task)
    if found is not None:
        found.check_model(model.identity)
    check_all_fit(model.spec, (*task.prompts, *task.reference))
    return task.transform_spec(model.spec)


def check_whole(name: str, value: Any, least: int = 0) -> None:
    """Raise KCircuitsError unless the value of an argument is a whole number and at least `least`."""
    if type(value) is not int or value < least:
        raise KCircuitsError(f"{name} must be a whole number, at least {least}; got {value!r}")
