"""The check that everything makes which takes a task."""

from __future__ import annotations

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.task.task import Task


def check_task(task: object) -> None:
    """Raise KCircuitsError unless it is a Task: text, prompts and a circuit are the usual mistakes."""
    if not isinstance(task, Task):
        raise KCircuitsError(
            f"task must be a Task, got {quote(task)}: write "
            "kcircuits.Task(model.prompts([(text, answer), …])), or Task.as_found(circuit, prompts)"
        )
