"""Engines for readings, portion by portion of the prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from kcircuits.data.prompts import Prompt
from kcircuits.engine import Engine, engines, engines_for_circuits
from kcircuits.engine.needs import placement_for_readings
from kcircuits.errors import KCircuitsError
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task


def engines_with_prompts(
    spec: ModelSpec, task: Task, memory: int, streams: int = 0
) -> Iterator[tuple[Engine, tuple[Prompt, ...]]]:
    """`engines_for_circuits`, each with its prompts."""
    first = 0
    for engine in engines_for_circuits(spec, task, memory, streams):
        yield engine, task.prompts[first : first + engine.num_prompts]
        first += engine.num_prompts


def plain_engines(spec: ModelSpec, prompts: Sequence[Prompt], memory: int) -> Iterator[tuple[Engine, int]]:
    """Engines of plain runs with all senders in memory, one per portion, each with its first prompt."""
    first = 0
    placement = placement_for_readings(spec, prompts)
    for engine in engines(spec, Task(tuple(prompts), "zero"), memory, placement):
        yield engine, first
        first += engine.num_prompts


def check_finite(what: str, *values: Tensor) -> None:
    """Raise KCircuitsError if a number is not finite, which means that a run overflowed."""
    if not all(value.isfinite().all() for value in values):
        raise KCircuitsError(f"{what} is not finite: the numbers overflow")
