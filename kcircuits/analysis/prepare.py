"""What every reading begins with: the model as its circuit was found in it, if there is one, and the task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from kcircuits.circuit import Circuit
from kcircuits.data.prompts import Prompt
from kcircuits.engine import Engine, engines, engines_for_circuits
from kcircuits.engine.needs import placement_for_readings
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.prepare import spec_and_task
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Ablation, Task


def task_for(
    model: Model,
    prompts: Sequence[Prompt],
    circuit: Circuit | None,
    ablation: Ablation | None = None,
    reference: Sequence[Prompt] = (),
    *,
    ablates: bool = False,
) -> tuple[ModelSpec, Task]:
    """The model and the task of a reading; `ablates` says that it has something to ablate without a circuit.

    Raises KCircuitsError if the circuit is of another model, or an ablation has no circuit to do with.
    """
    if circuit is not None:
        return spec_and_task(circuit, model, prompts, ablation, "nll", reference)
    if ablates:
        return model.spec, Task(tuple(prompts), ablation or "zero", "nll", tuple(reference))
    if ablation is not None or reference:
        raise KCircuitsError("an ablation is of a circuit's absent edges, and there is no circuit: give one")
    return model.spec, Task(tuple(prompts), "zero")


def engines_with_prompts(
    spec: ModelSpec, task: Task, memory: int, streams: int = 0
) -> Iterator[tuple[Engine, tuple[Prompt, ...]]]:
    """`engines_for_circuits`, each with its prompts."""
    first = 0
    for engine in engines_for_circuits(spec, task, memory, streams):
        yield engine, task.prompts[first : first + engine.num_prompts]
        first += engine.num_prompts


def plain_engines(spec: ModelSpec, prompts: Sequence[Prompt], memory: int) -> Iterator[tuple[Engine, int]]:
    """Engines of plain runs with all senders in memory, portion by portion, and each one's first prompt."""
    first = 0
    placement = placement_for_readings(spec, prompts)
    for engine in engines(spec, Task(tuple(prompts), "zero"), memory, placement):
        yield engine, first
        first += engine.num_prompts


def check_finite(what: str, *values: Tensor) -> None:
    """Raise KCircuitsError if a number is not finite, which means that a run overflows."""
    if not all(value.isfinite().all() for value in values):
        raise KCircuitsError(f"{what} is not finite: the numbers overflow")
