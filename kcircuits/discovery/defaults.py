"""What a search takes where the user gives no threshold and no size: values derived from the task itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from kcircuits.data.metrics import faithfulness
from kcircuits.engine import measure
from kcircuits.errors import KCircuitsError, KCircuitsWarning
from kcircuits.model.spec import ModelSpec
from kcircuits.scores.selection import Selection, select_sizes
from kcircuits.task import Task

THRESHOLD_SHARE = 0.01
"""ACDC's threshold, as a share of the metric's range: |metric without any edge − metric with all|."""

FAITHFULNESS = 0.8
"""The smallest circuit of the sizes tried that is at least this faithful is selected from scores."""

FRACTIONS = tuple(2.0**-k for k in range(10, -1, -1))
"""The sizes tried, as shares of the graph's edges; with all edges the faithfulness is 1."""

DERIVED = "derived"
"""Key of a circuit's settings: which options were derived, each with the reason in words."""


def derive_threshold(spec: ModelSpec, task: Task, memory: int) -> tuple[float, str]:
    """A threshold for ACDC in units of the task's metric, and the reason in words; two masked runs.

    Raises KCircuitsError if the metric is the same with all edges as without any.
    """
    full, empty = _ends(spec, task, memory)
    if faithfulness(full, full, empty) is None:
        raise KCircuitsError(
            f"{task.metric} is {full:.4g} with all edges and without any, so no threshold can be derived "
            "from its range: give a threshold, or prompts on which ablation makes a difference"
        )
    return THRESHOLD_SHARE * abs(full - empty), (
        f"{THRESHOLD_SHARE:.0%} of the range of {task.metric}, {full:.4g} with all edges and {empty:.4g} "
        "without any"
    )


def derive_selection(
    method: str, spec: ModelSpec, task: Task, matrix: np.ndarray, memory: int
) -> tuple[Selection, str]:
    """A selection from a method's scores of all edges, [S, R], and the reason in words.

    It is the smallest of `FRACTIONS` of the graph's edges whose circuit reaches `FAITHFULNESS`; each is one
    masked run. A warning says so where that takes half of the graph or more.

    Raises KCircuitsError if the metric is the same with all edges as without any.
    """
    sizes = sorted({max(1, int(share * spec.graph.num_edges)) for share in FRACTIONS})
    masks = select_sizes(spec.graph, matrix, sizes)
    full, empty, *values = measure(spec, task, np.stack([*_end_masks(spec), *masks]), memory)
    for size, value in zip(sizes, values, strict=True):
        reached = faithfulness(full, value, empty)
        if reached is None:
            raise KCircuitsError(
                f"{task.metric} is {full:.4g} with all edges and without any, so no size can be derived from "
                "it: give a top_n or a threshold, or prompts on which ablation makes a difference"
            )
        if reached >= FAITHFULNESS:
            if size >= spec.graph.num_edges // 2:
                text = _describe_large(method, task, size, spec.graph.num_edges)
                warnings.warn(text, KCircuitsWarning, stacklevel=3)
            return Selection(top_n=size), (
                f"the smallest of {len(sizes)} sizes with a faithfulness of at least {FAITHFULNESS} (here "
                f"{reached:.2f})"
            )
    raise AssertionError("the circuit of all edges is the full model")


def _describe_large(method: str, task: Task, size: int, num_edges: int) -> str:
    return (
        f"with the scores of {method}, a circuit needs {size:,} of {num_edges:,} edges for a faithfulness of "
        f"{FAITHFULNESS}: try {', or '.join(suggest(method, task))}"
    )


def suggest(method: str, task: Task) -> list[str]:
    """What to try where the circuits of a method are not faithful."""
    tries = []
    if task.ablation == "zero":
        tries.append("corrupt prompts with corrupt ablation")
    if method != "acdc":
        tries.append("the method acdc")
    if method != "eap-ig-inputs" and task.ablation == "corrupt":
        tries.append("the method eap-ig-inputs")
    return tries


def explain_derived(settings: dict[str, Any]) -> list[str]:
    """A line for every option that was derived: its value and why, from a circuit's settings."""
    reasons: dict[str, str] = settings.get(DERIVED, {})
    return [f"{name} {_number(settings[name])}: {reason}" for name, reason in reasons.items()]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _ends(spec: ModelSpec, task: Task, memory: int) -> tuple[float, float]:
    full, empty = measure(spec, task, _end_masks(spec), memory)
    return full, empty


def _end_masks(spec: ModelSpec) -> np.ndarray:
    valid = spec.graph.valid
    return np.stack([valid, np.zeros_like(valid)])
