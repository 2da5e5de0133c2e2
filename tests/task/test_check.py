"""Everything that takes a task says what to write, where it gets something else."""

from __future__ import annotations

import numpy as np
import pytest

import kcircuits as kc
from kcircuits.task import check_task
from tests.analysis.models import PROMPTS, model_of, some_circuit
from tests.circuits import scores_for

MODEL = model_of("llama_gqa")
CIRCUIT = some_circuit(MODEL)
RNG = np.random.default_rng(0)
CALLS = {
    "discover": lambda task: kc.discover(MODEL, task, kc.Acdc()),
    "attribute": lambda task: kc.attribute(MODEL, task, kc.Eap()),
    "plan": lambda task: kc.plan(MODEL, task, kc.Acdc()),
    "evaluate": lambda task: kc.evaluate(MODEL, task, CIRCUIT),
    "minimality": lambda task: kc.minimality(MODEL, task, CIRCUIT),
    "size_curve": lambda task: kc.size_curve(MODEL, task, scores_for(MODEL.spec.graph, RNG)),
    "random_curve": lambda task: kc.random_curve(MODEL, task, CIRCUIT, seeds=[0]),
    "compare_sizes": lambda task: kc.compare_sizes(MODEL, task),
    "layer_curves": lambda task: kc.layer_curves(MODEL, task, CIRCUIT),
    "read_heads": lambda task: kc.read_heads(MODEL, task),
    "head_roles": lambda task: kc.head_roles(MODEL, task),
    "hallucinations": lambda task: kc.hallucinations(MODEL, task),
    "knockout": lambda task: kc.knockout(MODEL, task, CIRCUIT),
}


@pytest.mark.parametrize("given", ["The capital of France is", PROMPTS, list(PROMPTS), CIRCUIT, None])
@pytest.mark.parametrize("name", CALLS)
def test_one_line_says_what_to_write(name, given):
    with pytest.raises(kc.KCircuitsError, match="task must be a Task, got ") as error:
        CALLS[name](given)
    text = str(error.value)
    assert "kcircuits.Task(model.prompts([(text, answer), …]))" in text
    assert "Task.as_found(circuit, prompts)" in text
    assert "\n" not in text
    assert len(text) < 250


def test_a_task_is_one():
    check_task(kc.Task(PROMPTS))
