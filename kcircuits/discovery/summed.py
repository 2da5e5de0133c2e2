"""Gradient scores as means over fixed parts of the prompts, whoever computes which part.

The parts (`kcircuits.engine.portions.parts`) depend on the prompts alone. The mean of each is rounded to
float32, and these are added up in the order of the parts: so it makes no difference to any bit whether one
process takes all parts or several share them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from kcircuits.discovery.eap import GradientScorer
from kcircuits.discovery.progress import ProgressCallback, Steps
from kcircuits.engine import check_all_fit, engines, mean_activations
from kcircuits.engine.layouts import placement_for_scores
from kcircuits.engine.portions import means_bytes, parts
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task


def scores_of_parts(
    method: GradientScorer,
    spec: ModelSpec,
    task: Task,
    memory: int,
    progress: ProgressCallback | None,
    numbers: Sequence[int] | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """How many prompts, and their mean scores, float32 [S, R], of parts of a task's, one after the other.

    Parameters
    ----------
    method, spec, task
        The whole task: means and the layout come from all of its prompts.
    memory
        Bytes; where a part does not fit, its sum is that over the portions that do. So bits may differ with
        it.
    progress
        Counts the runs of all prompts of these parts.
    numbers
        Which parts, from 0 on; by default all.
    """
    check_all_fit(spec, task.prompts)
    cut = parts(task.prompts)
    chosen = [cut[number] for number in (range(len(cut)) if numbers is None else numbers)]
    runs = method.work(spec.graph).runs
    total = runs * sum(map(len, chosen))
    before = 0

    def count(done: int, _: int) -> None:
        if progress is not None:
            progress(Steps(before + done * engine.num_prompts, total, "runs"))

    left = max(1, memory - means_bytes(spec, task))
    placement = placement_for_scores(
        spec,
        task.prompts,
        left,
        task.ablation != "zero",
        method.senders,
        another=method.keeps_a_run,
        qk_fix=method.qk_fix,
    )
    means = mean_activations(spec, task, memory, placement) if task.is_mean else None
    reference = task.reference or task.prompts
    for part in chosen:
        summed: np.ndarray = np.zeros(spec.graph.valid.shape)
        some = replace(task, prompts=part, reference=reference)
        for engine in engines(spec, some, memory, placement, means):
            summed += method.of_portion(engine, memory, count).double().cpu().numpy()
            before += runs * engine.num_prompts
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused by the caller
            yield len(part), (summed / len(part)).astype(np.float32)


def mean_of_parts(scores: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
    """The mean over all prompts, float64 [S, R], from what `scores_of_parts` says of all parts, in order."""
    count, total = 0, np.zeros(())
    for prompts, mean in scores:
        total = total + mean.astype(np.float64) * prompts
        count += prompts
    result: np.ndarray = total / count
    return result
