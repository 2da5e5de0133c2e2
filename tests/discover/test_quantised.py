"""Every method on matrices of few bits: the scores and measures of the dequantised model."""

from __future__ import annotations

import numpy as np
import pytest

from kcircuits.discovery import METHODS, EdgePruning, attribute, discover
from kcircuits.evaluation import evaluate
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.model.transforms import with_folded_value_biases
from kcircuits.task import Task
from tests.experiments import experiment
from tests.models import dequantised, quantised_spec
from tests.tasks import random_prompts_of

SCORED = [name for name in METHODS if name not in ("acdc", "edge-pruning")]


def model_of(spec: ModelSpec) -> Model:
    identity = {
        "name": "tiny", "family": spec.family, "num_layers": len(spec.layers), "num_heads": spec.num_heads,
        "num_kv_heads": spec.num_kv_heads, "parallel": spec.parallel, "width": spec.width,
        "vocab_size": spec.vocab_size, "weights_hash": "0",
    }  # fmt: skip
    return Model(spec, None, identity)


@pytest.fixture(params=[4, 8])
def pair(request) -> tuple[Model, Model]:
    spec = quantised_spec("llama_gqa", request.param)
    return model_of(spec), model_of(dequantised(spec))


@pytest.mark.parametrize("method", SCORED)
def test_scores(pair, method):
    ablation = {"ifr": "zero"}.get(method, "corrupt")
    prompts = random_prompts_of([5, 3])
    ours, expected = (
        attribute(model, *experiment(prompts, method, ablation=ablation)).matrix for model in pair
    )
    np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max(), rtol=1e-3)


def test_edge_pruning_and_evaluation(pair):
    prompts = random_prompts_of([5, 3])
    found = [discover(model, Task(prompts, "corrupt"), EdgePruning(top_n=40, steps=20)) for model in pair]
    assert (found[0].mask() == found[1].mask()).all()
    ours, expected = (
        evaluate(model, Task.as_found(circuit, prompts), circuit, random_circuits=2)
        for circuit, model in zip(found, pair, strict=True)
    )
    assert ours.faithfulness == pytest.approx(expected.faithfulness, abs=1e-3)
    assert ours.random_faithfulness == pytest.approx(expected.random_faithfulness, abs=1e-3)


def test_value_biases_are_folded():
    spec = quantised_spec("llama_biases", 4)
    ours, expected = (with_folded_value_biases(one).layers[0].attention for one in (spec, dequantised(spec)))
    assert ours.b_v is None
    np.testing.assert_allclose(ours.b_o, expected.b_o, rtol=1e-6)
