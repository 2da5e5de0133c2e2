"""Tasks are complete or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.task import Task
from tests.tasks import random_prompts_of

FULL = random_prompts_of([4, 2])
BARE = tuple(replace(prompt, corrupt_ids=None, wrong_id=None) for prompt in FULL)


@pytest.mark.parametrize("ablation", ["zero", "corrupt"])
@pytest.mark.parametrize("metric", ["nll", "kl", "logit-diff"])
def test_what_is_needed(ablation, metric):
    Task(FULL, ablation, metric)
    if (ablation, metric) in (("zero", "nll"), ("zero", "kl")):
        Task(BARE, ablation, metric)
    else:
        with pytest.raises(KCircuitsError, match="for every prompt, and prompt 2 has none"):
            Task((FULL[0], BARE[1]), ablation, metric)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((),), "there are no prompts"),
        ((FULL, "noise"), "ablation must be one of zero, corrupt, mean, mean-positional; got 'noise'"),
        ((FULL, "zero", None), "metric must be one of nll, kl, logit-diff; got None"),
    ],
)
def test_bad_tasks(arguments, message):
    with pytest.raises(KCircuitsError, match=message):
        Task(*arguments)
