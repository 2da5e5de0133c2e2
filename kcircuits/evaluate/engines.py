"""Engines for a task of any number of prompts, some prompts at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kcircuits.engine import Engine
from kcircuits.evaluate.portions import portions
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task


def engines(spec: ModelSpec, task: Task, memory: int) -> Iterator[Engine]:
    """Engines for consecutive portions of the task's prompts, one at a time, each fit for `memory` bytes."""
    for portion in portions(spec, task.prompts, memory):
        yield Engine(spec, replace(task, prompts=portion))
