"""Models as the readings take them, and prompts with subjects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from tests.circuits import circuit_of_mask, identity_for
from tests.models import tiny_spec
from tests.tasks import random_prompts_of

SUBJECTS = [(1, 3), None, (0, 1)]
PROMPTS = tuple(
    replace(prompt, subject=subject)
    for prompt, subject in zip(random_prompts_of([5, 2, 4]), SUBJECTS, strict=True)
)


def model_of(spec: ModelSpec | str) -> Model:
    """A model without a tokenizer."""
    spec = tiny_spec(spec) if isinstance(spec, str) else spec
    return Model(spec, None, identity_for(spec.graph))


def some_circuit(model: Model, **settings: Any) -> Circuit:
    """A random circuit that was found with corrupt ablation."""
    rng = np.random.default_rng(0)
    graph = model.spec.graph
    mask = graph.valid & (rng.random(graph.valid.shape) < 0.7)
    return circuit_of_mask(graph, mask, rng, settings={"ablation": "corrupt"} | settings)
