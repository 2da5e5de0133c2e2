"""Masked runs with edge weights, and their slopes, against autograd on the reference forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kcircuits.engine import Engine
from kcircuits.task import Task
from tests.covers import pairwise
from tests.models import BUILDERS, as_dtype, tiny_spec
from tests.tasks import random_prompts_of, reference_metric, reference_runs


def random_weights(valid: np.ndarray, seed: int = 0) -> torch.Tensor:
    """Weights of which many are 0 or 1; those that are no edges are anything."""
    generator = torch.Generator().manual_seed(seed)
    return (1.6 * torch.rand(valid.shape, generator=generator) - 0.3).clamp(0, 1)


@pairwise(
    name=list(BUILDERS), metric=["nll", "kl", "logit-diff"], ablation=["zero", "corrupt", "mean-positional"]
)
def test_metric_and_gradient(name, metric, ablation):
    spec = as_dtype(tiny_spec(name), torch.float64)
    task = Task(random_prompts_of([4, 2, 5]), ablation, metric)
    weights = random_weights(spec.graph.valid).double().requires_grad_()
    expected = reference_metric(spec, task)(reference_runs(spec, task)(weights))
    (slope,) = torch.autograd.grad(expected.mean(), [weights])
    values, gradient = Engine(spec, task).soft_run(weights.detach())
    # The angles of rotary embeddings are float32 whatever the model is.
    tolerance = 1e-9 if name.startswith("gpt2") else 1e-5
    torch.testing.assert_close(values, expected.detach(), atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(gradient, slope, atol=tolerance * slope.abs().max().item(), rtol=0)


def test_weights_of_0_and_1_are_a_masked_run():
    spec = tiny_spec("llama_gqa")
    engine = Engine(spec, Task(random_prompts_of([4, 3]), "corrupt"))
    mask = spec.graph.valid & (np.random.default_rng(0).random(spec.graph.valid.shape) < 0.5)
    values, gradient = engine.soft_run(torch.from_numpy(mask).float())
    torch.testing.assert_close(
        values, engine.metric(engine.masked_rows(mask[None], 2**30))[0], atol=1e-5, rtol=0
    )
    assert not gradient[~torch.from_numpy(spec.graph.valid)].any()


def test_bad_weights():
    engine = Engine(tiny_spec("llama"), Task(random_prompts_of([4]), "zero"))
    with pytest.raises(ValueError, match=r"weights: expected floating \[16, 40\], got Bool"):
        engine.soft_run(torch.from_numpy(engine.graph.valid))
