"""Senders that are not all in memory: the same scores and masked runs, nearly so where they are rounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from kcircuits.engine import Engine, engines, mean_activations
from kcircuits.engine.layouts import Placement
from kcircuits.model.spec import ModelSpec
from kcircuits.model.transforms import with_kept_positions
from kcircuits.task import Task
from tests.covers import every_value, pairwise
from tests.models import as_dtype, tiny_spec
from tests.tasks import random_prompts_of

LARGE, TINY = 2**30, 1
PROMPTS = random_prompts_of([5, 3, 6])
POINTS = [0.0, 0.4, 1.0]
ABLATIONS = ["zero", "corrupt", "mean", "mean-positional"]
# Learned positions, shared keys, parallel attention, a norm behind the attention, experts, sinks.
BLOCKS = ["gpt2", "llama_gqa", "gpt_neox", "olmo2", "gemma2", "mixtral", "gpt_oss"]
EXACT, ROUNDED = 3e-6, 1e-2


def path(engine: Engine, memory: int = LARGE, qk_fix: bool = False) -> Tensor:
    return engine.path_scores(POINTS, rule="gradient", qk_fix=qk_fix, memory=memory, progress=None)


def activations(engine: Engine, memory: int = LARGE, qk_fix: bool = False) -> Tensor:
    return engine.activation_scores(2, qk_fix=qk_fix, memory=memory, progress=None)


def difference(ours: Tensor, expected: Tensor) -> float:
    """The largest, relative to the largest score."""
    assert expected.abs().max() > 1e-3
    return ((ours - expected).abs().max() / expected.abs().max()).item()


@pairwise(name=BLOCKS, ablation=ABLATIONS, scores_of=[path, activations])
def test_recomputed_senders_give_the_same_scores(name, ablation, scores_of):
    spec, task = tiny_spec(name), Task(PROMPTS, ablation)
    recomputed = Engine(spec, task, layout="recomputed")
    for qk_fix in [False, True] if name != "olmo2" else [False]:
        expected = scores_of(Engine(spec, task), qk_fix=qk_fix)
        for memory in (TINY, LARGE):  # one layer at a time, or all of them
            assert difference(scores_of(recomputed, memory, qk_fix), expected) < EXACT


def test_recomputed_senders_in_double_precision():
    spec = as_dtype(tiny_spec("llama_gqa"), torch.float64)
    task = Task(PROMPTS, "corrupt")
    ours = path(Engine(spec, task, layout="recomputed"), TINY)
    assert ours.dtype == torch.float64
    assert difference(ours, path(Engine(spec, task))) < 1e-13


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_recomputed_senders_of_a_model_whose_positions_stay(ablation):
    spec, task = with_kept_positions(tiny_spec("gpt2")), Task(PROMPTS, ablation)
    for scores_of in (path, activations):
        expected = scores_of(Engine(spec, task))
        assert difference(scores_of(Engine(spec, task, layout="recomputed")), expected) < EXACT


@pytest.mark.parametrize("scores_of", [path, activations])
@pytest.mark.parametrize("name", BLOCKS)
def test_rounded_senders_give_nearly_the_same_scores(name, scores_of):
    """The gradients are exact, so what is off is at most the rounding of a − ã, 2⁻⁹ of each number."""
    spec, task = tiny_spec(name), Task(PROMPTS, "corrupt")
    rounded = difference(
        scores_of(Engine(spec, task, layout="bfloat16"), TINY), scores_of(Engine(spec, task))
    )
    assert EXACT < rounded < ROUNDED


@every_value(name=BLOCKS, ablation=ABLATIONS)
def test_masked_runs_need_no_senders_of_the_plain_runs(name, ablation):
    spec, task = tiny_spec(name), Task(PROMPTS, ablation)
    rng = np.random.default_rng(0)
    masks = spec.graph.valid & (rng.random((4, *spec.graph.valid.shape)) < 0.7)
    expected = Engine(spec, task).masked_rows(masks, LARGE)
    for memory in (TINY, LARGE):
        ours = Engine(spec, task, layout="recomputed").masked_rows(masks, memory)
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("ablation", ["mean", "mean-positional"])
@pytest.mark.parametrize("layout", ["recomputed", "bfloat16"])
def test_means_are_exact_in_every_layout(layout, ablation):
    spec, task = tiny_spec("gpt2"), Task(PROMPTS, ablation)
    ours = mean_activations(spec, task, TINY, Placement(layout, 1))
    torch.testing.assert_close(ours, mean_activations(spec, task, LARGE))


def test_portions_add_up():
    spec, task = tiny_spec("llama"), Task(PROMPTS, "mean")
    whole = path(Engine(spec, task))
    parts = [path(engine, TINY) for engine in engines(spec, task, TINY, Placement("recomputed"))]
    assert len(parts) == 3
    assert difference(torch.stack(parts).sum(0), whole) < EXACT


def test_what_needs_all_senders_says_so():
    engine = Engine(tiny_spec("llama"), Task(PROMPTS, "zero"), layout="recomputed")
    with pytest.raises(RuntimeError, match="needs all senders in memory"):
        engine.acdc(0.1, absolute=False, memory=LARGE, progress=None)
    with pytest.raises(RuntimeError, match="needs all senders in memory"):
        engine.flow_scores()


def test_no_host_beside_the_cpu():
    with pytest.raises(ValueError, match="the model is on the CPU"):
        Engine(tiny_spec("llama"), Task(PROMPTS, "zero"), layout="host")


def with_own_bias(spec: ModelSpec, layer: int) -> tuple[ModelSpec, Tensor]:
    """A model whose attention bias of one layer may be written to, and that bias."""
    old = spec.layers[layer]
    bias = old.attention.b_o.detach().clone()
    new = replace(old, attention=replace(old.attention, b_o=bias))
    return replace(spec, layers=(*spec.layers[:layer], new, *spec.layers[layer + 1 :])), bias


def test_constants_are_whole_after_a_failure():
    """What a session makes when it is first asked for is made anew after an error, not added to."""
    spec, bias = with_own_bias(tiny_spec("gpt2"), layer=1)
    masks = spec.graph.valid[None]
    expected = Engine(spec, Task(PROMPTS, "zero"), layout="recomputed").masked_rows(masks, LARGE)
    engine = Engine(spec, Task(PROMPTS, "zero"), layout="recomputed")
    bias.resize_(spec.width - 1)  # found when that of layer 0 has been added already
    with pytest.raises(RuntimeError):
        engine.masked_rows(masks, LARGE)
    bias.resize_(spec.width)
    assert torch.equal(engine.masked_rows(masks, LARGE), expected)


@pytest.mark.parametrize("layout", ["memory", "recomputed"])
def test_bytes_do_not_depend_on_what_ran(layout):
    """They are read while another thread may be running circuits."""
    spec = tiny_spec("gpt2")
    engine = Engine(spec, Task(PROMPTS, "corrupt"), layout=layout)
    masks = spec.graph.valid[None]
    engine.masked_rows(masks, LARGE)
    assert engine._session.bytes() == engine.bytes
