"""The cases of bench_eap.py: a function per method, with its run time scaled to the whole method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from kcircuits.discovery import Progress, Steps, exact_scores, method_of
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import memory_bytes
from kcircuits.task import Task

ROUNDS = 5
SAMPLE = 4  # receivers of which `exact` scores all edges
TRAINING_STEPS = 6


@dataclass(frozen=True)
class Case:
    """One method.

    Parameters
    ----------
    seconds
        Does the work, including the engine's construction and plain runs, and returns the seconds of the
        whole method.
    rounds
        Number of repetitions.
    note
        How the seconds were obtained, if not from a whole run.
    """

    seconds: Callable[[ModelSpec, Task], float]
    rounds: int = ROUNDS
    note: str = ""


def attribution(
    method: str, *, memory: str | None = None, **options: Any
) -> Callable[[ModelSpec, Task], float]:
    """The scores of all edges."""
    scorer = method_of(method, options)

    def seconds(spec: ModelSpec, task: Task) -> float:
        start = perf_counter()
        scorer.scores(spec, task, memory_bytes(memory), None)
        return perf_counter() - start

    return seconds


def sampled_exact(spec: ModelSpec, task: Task) -> float:
    """All edges into evenly spaced receivers: early layers cost more per edge and have fewer edges."""
    columns = np.linspace(0, len(spec.graph.receivers) - 1, SAMPLE + 2).astype(int)[1:-1]
    wanted = np.zeros_like(spec.graph.valid)
    wanted[:, columns] = spec.graph.valid[:, columns]
    start = perf_counter()
    exact_scores(spec, task, wanted, memory_bytes(None))
    return (perf_counter() - start) * spec.graph.num_edges / int(wanted.sum())


def one_training_step(spec: ModelSpec, task: Task) -> float:
    """Median seconds of a step of a short training, without the engine's construction."""
    times: list[float] = []

    def tell(_: Progress | Steps) -> None:
        times.append(perf_counter())

    method_of("edge-pruning", {"top_n": 1000, "steps": TRAINING_STEPS}).search(
        spec, task, memory_bytes(None), tell
    )
    return float(np.median(np.diff(times)))


CASES: dict[str, Case] = {
    "eap": Case(attribution("eap")),
    "eap-ig-inputs": Case(attribution("eap-ig-inputs", ig_steps=5), note="5 steps"),
    "eap+qk_fix": Case(attribution("eap", qk_fix=True)),
    "relp": Case(attribution("relp")),
    "clean-corrupted": Case(attribution("clean-corrupted")),
    "ifr": Case(attribution("ifr")),
    "eap-ig-activations": Case(attribution("eap-ig-activations", ig_steps=5), 1, "5 steps; one run"),
    "exact": Case(sampled_exact, 1, f"scaled up from the edges of {SAMPLE} receivers; one run"),
    "edge-pruning": Case(one_training_step, 1, f"one training step, median of {TRAINING_STEPS - 1}"),
}
