"""A small comparison, made once."""

from __future__ import annotations

import pytest

from kcircuits.discovery import Acdc, Eap, EapIg, EdgePruning
from kcircuits.model.loading import Model, load_model
from kcircuits.sizes import RandomCircuits, SizeComparison, SizeOptions, compare_sizes
from kcircuits.task import Task
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([4, 3, 5], seed=21)
PRUNING = EdgePruning(steps=15, seed=4)
METHODS = (Eap(), Acdc(), PRUNING, RandomCircuits(3, seed=4), EapIg(steps=2))
OPTIONS = SizeOptions(fractions=(0.05, 0.2, 1.0), thresholds=(0.5, 0.01), pruning_fractions=(0.1, 0.5))


@pytest.fixture(scope="session")
def model(tiny_folder) -> Model:
    return load_model(tiny_folder("llama_gqa"))


@pytest.fixture(scope="session")
def comparison(model) -> SizeComparison:
    return compare_sizes(model, Task(PROMPTS, "corrupt"), METHODS, options=OPTIONS)
