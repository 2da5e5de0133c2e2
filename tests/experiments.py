"""A task and a method from names and options, for tests that run over many of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcircuits.data.prompts import Prompt
from kcircuits.discovery import METHODS, Method, method_and_selection, method_of
from kcircuits.task import Task

OF_TASK = ("ablation", "metric", "reference", "fold_value_biases", "keep_positions")
OF_SELECTION = ("top_n", "threshold", "absolute", "greedy", "level")


def experiment(
    prompts: Sequence[Prompt], method: str = "acdc", *, default: str = "zero", **mixed: Any
) -> tuple[Any, ...]:
    """A task, a method and, where there are options of one, a selection, from the fields of all three."""
    asked = {name: value for name, value in mixed.items() if name in OF_TASK}
    options = {name: value for name, value in mixed.items() if name not in OF_TASK}
    task = Task(tuple(prompts), **({"ablation": default} | asked))
    kind: type[Method] | None = METHODS.get(method)
    if kind is not None and kind.scores_all_edges and set(options) & set(OF_SELECTION):
        return (task, *method_and_selection(method, options))
    return task, method_of(method, options)
