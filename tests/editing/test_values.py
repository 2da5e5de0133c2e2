"""The value optimisation, against finite differences and against one edit at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kcircuits.editing.memit import states
from kcircuits.editing.stream import pad_right, run_to_mlp
from kcircuits.editing.values import ValueOptions, _Batch, optimise_values
from kcircuits.errors import KCircuitsError
from kcircuits.model.spec import Experts
from tests.editing.edits import random_edit
from tests.models import BUILDERS, as_dtype, tiny_spec

WITH_MLP = [name for name in BUILDERS if not isinstance(tiny_spec(name).layers[0].mlp, Experts)]
EDITS = [random_edit(1), random_edit(2, target_length=3, num_prefixes=1), random_edit(3, num_prefixes=0)]


@pytest.mark.parametrize("name", WITH_MLP)
def test_gradients_are_finite_differences(name):
    spec = as_dtype(tiny_spec(name), torch.float64)
    batch = _Batch(spec, EDITS, 1, ValueOptions())
    generator = torch.Generator().manual_seed(0)
    delta = (0.1 * torch.randn(3, spec.width, generator=generator, dtype=torch.float64)).requires_grad_()
    unedited = batch.log_probabilities(torch.zeros_like(delta))[1].detach()
    size = torch.ones(3, dtype=torch.float64)

    def total(at: torch.Tensor) -> torch.Tensor:
        return batch.losses(at, unedited, size)[0].sum()

    (gradient,) = torch.autograd.grad(total(delta), delta)
    way = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        slope = (total(delta + 1e-3 * way) - total(delta - 1e-3 * way)) / 2e-3
    # Logits are float32 behind the last product.
    torch.testing.assert_close((gradient * way).sum(), slope, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "llama_gqa", "gemma2"])
def test_a_batch_is_each_edit_alone(name):
    spec, options = tiny_spec(name), ValueOptions(steps=6)
    together = optimise_values(spec, EDITS, 1, options)
    for number, edit in enumerate(EDITS):
        alone = optimise_values(spec, [edit], 1, options)
        torch.testing.assert_close(together.key[number], alone.key[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.delta[number], alone.delta[0], atol=2e-3, rtol=1e-2)
        torch.testing.assert_close(together.loss[number], alone.loss[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "llama_gqa", "gptj"])
def test_targets_become_probable(name):
    values = optimise_values(tiny_spec(name), EDITS, 1, ValueOptions(steps=30, clamp=20, weight_decay=0.01))
    assert not values.failed
    start = optimise_values(tiny_spec(name), EDITS, 1, ValueOptions(steps=1, learning_rate=1e-9))
    assert (values.loss < start.loss - 0.5).all()


def test_the_key_is_the_mean_input_of_w_down():
    spec, edit = tiny_spec("llama"), random_edit(5, num_prefixes=3)
    keys = []
    for prompt in edit.prefixed:
        hidden = run_to_mlp(spec, pad_right([prompt.ids]), 2).hidden
        keys.append(hidden[0, prompt.subject_last])
    expected = torch.stack(keys).mean(dim=0)
    values = optimise_values(spec, [edit], 2, ValueOptions(steps=1))
    torch.testing.assert_close(values.key[0], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(states(spec, [edit], 2, 2)[0][0], expected, atol=1e-5, rtol=1e-4)


def test_an_optimisation_that_diverges_is_reported_and_the_others_go_on():
    spec, edits = tiny_spec("llama"), [random_edit(1), random_edit(2)]
    embedding = spec.embedding.clone()
    embedding[edits[0].prompt.ids[0]] = float("inf")  # where the first edit's numbers overflow
    assert edits[0].prompt.ids[0] not in {token for prompt in edits[1].prefixed for token in prompt.ids}
    values = optimise_values(replace(spec, embedding=embedding), edits, 1, ValueOptions(steps=3))
    alone = optimise_values(spec, edits[1:], 1, ValueOptions(steps=3))
    assert list(values.failed) == [0]
    assert "diverged" in values.failed[0]
    torch.testing.assert_close(values.delta[1], alone.delta[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"clamp": float("inf")}, "clamp"),
        ({"kl_factor": -0.1}, "kl_factor"),
        ({"enough": float("nan")}, "enough"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(KCircuitsError, match=message):
        ValueOptions(**options)
