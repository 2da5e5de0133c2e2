"""The check of the argument `task` of public functions."""

from __future__ import annotations

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.task.task import Task


def check_task(task: object) -> None:
    """Raise KCircuitsError if this is not a Task, but text, prompts or a circuit, for example."""
    if not isinstance(task, Task):
        raise KCircuitsError(
            f"task must be a Task, got {quote(task)}: write "
            "kcircuits.Task(model.prompts([(text, answer), …])), or Task.as_found(circuit, prompts)"
        )
