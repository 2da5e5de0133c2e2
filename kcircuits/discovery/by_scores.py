"""What methods that score all edges have in common: checks of a task and of its scores."""

from __future__ import annotations

import numpy as np

from kcircuits.discovery.method import Scorer
from kcircuits.discovery.progress import ProgressCallback
from kcircuits.errors import KCircuitsError
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task


def checked_scores(
    scorer: Scorer, spec: ModelSpec, task: Task, memory: int, progress: ProgressCallback | None
) -> np.ndarray:
    """The scorer's scores, float32 [S, R].

    Raises KCircuitsError if they are not finite, or all of them are 0.
    """
    scores = np.asarray(scorer.scores(spec, task, memory, progress), dtype=np.float32)
    check_scores(scorer.name, scores)
    return scores


def check_scores(method: str, scores: np.ndarray) -> None:
    """Raise KCircuitsError if scores are not finite, or all of them are 0."""
    if not np.isfinite(scores).all():
        message = f"{method}: a score is not finite, the numbers overflow"
        if method == "eap-ig-inputs":
            message += (
                "; with zero ablation its path begins at a stream of zeros, where norms divide by nearly "
                "nothing: use corrupt or mean ablation"
            )
        raise KCircuitsError(message)
    if not scores.any():
        raise KCircuitsError(
            f"{method}: every score is 0, as ablation changes nothing on these prompts: "
            "give corrupt prompts that differ, more prompts for a mean, or use zero ablation"
        )


def check_differences(task: Task) -> None:
    """Raise KCircuitsError if what ablation puts in is what was there."""
    if task.ablation == "corrupt" and all(p.clean_ids == p.corrupt_ids for p in task.prompts):
        raise KCircuitsError(
            "every corrupt prompt is the same as its clean prompt, so no edge makes a difference: "
            "give corrupt prompts that differ"
        )
    same = {prompt.clean_ids for prompt in (*task.prompts, *task.reference)}
    if task.ablation == "mean-positional" and len(same) == 1:
        raise KCircuitsError(
            "all prompts are the same, so the mean of a position is what is there already: "
            "give prompts that differ, or reference prompts"
        )
