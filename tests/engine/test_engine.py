"""The compiled masked run and metric against the reference forward, on random models, prompts and masks."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kcircuits._native import C
from kcircuits.engine import Engine, engines
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph, LayerShape
from kcircuits.model.forward import normalise, read_out
from kcircuits.model.spec import ModelSpec, Norm
from kcircuits.model.transforms import with_kept_positions
from kcircuits.task import Task
from tests.circuits import masks
from tests.models import BUILDERS, as_dtype, tiny_spec
from tests.tasks import random_prompts_of, reference_metric, reference_runs

LARGE, TINY = 2**30, 1
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=3)


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=str)
def narrow_spec(request) -> ModelSpec:
    return as_dtype(tiny_spec("llama_biases"), request.param)


def logits_of(spec: ModelSpec, rows: torch.Tensor) -> torch.Tensor:
    return read_out(spec, rows)


@pytest.mark.parametrize("ablation", ["zero", "corrupt", "mean", "mean-positional"])
@pytest.mark.parametrize("name", BUILDERS)
@settings(max_examples=3)
@given(data=st.data())
def test_masked_runs_equal_the_reference(name, ablation, data):
    spec = tiny_spec(name)
    prompts = random_prompts_of(data.draw(LENGTHS), data.draw(st.integers(0, 1000)))
    task = Task(prompts, ablation)
    edges = np.stack([data.draw(masks(spec.graph)) for _ in range(data.draw(st.integers(1, 4)))])
    rows = Engine(spec, task).masked_rows(edges, data.draw(st.sampled_from([TINY, LARGE])))
    expected = torch.stack([reference_runs(spec, task)(mask) for mask in edges])
    torch.testing.assert_close(logits_of(spec, rows), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("metric", ["nll", "kl", "logit-diff"])
@pytest.mark.parametrize("name", ["gpt2", "llama_gqa"])
def test_metrics_equal_the_reference(name, metric):
    spec = tiny_spec(name)
    task = Task(random_prompts_of([5, 2, 4]), "zero", metric=metric)
    rng = np.random.default_rng(0)
    edges = np.stack([spec.graph.valid & (rng.random(spec.graph.valid.shape) < 0.5) for _ in range(5)])
    engine, run = Engine(spec, task), reference_runs(spec, task)
    metric_of = reference_metric(spec, task)
    expected = torch.stack([metric_of(run(mask)) for mask in edges]).double()
    torch.testing.assert_close(
        engine.metric(engine.masked_rows(edges, LARGE)), expected, atol=1e-4, rtol=1e-5
    )
    assert engine.measure(edges, LARGE) == pytest.approx(expected.mean(dim=1).tolist(), abs=1e-4)


def test_kl_of_the_full_model_to_itself_is_zero():
    spec = tiny_spec("llama")
    engine = Engine(spec, Task(random_prompts_of([4, 3]), "zero", metric="kl"))
    assert engine.metric(engine.full_rows()[None])[0].tolist() == pytest.approx([0, 0], abs=1e-5)


def test_full_rows_are_those_of_the_full_mask():
    spec = tiny_spec("gpt2")
    engine = Engine(spec, Task(random_prompts_of([4, 3]), "zero"))
    rows = engine.masked_rows(spec.graph.valid[None], LARGE)[0]
    torch.testing.assert_close(engine.full_rows(), rows, atol=1e-5, rtol=1e-5)
    assert rows.shape == (2, spec.width)


def test_the_empty_circuit_of_zero_ablation_is_what_the_biases_leave():
    spec = tiny_spec("gpt2")
    engine = Engine(spec, Task(random_prompts_of([4]), "zero"))
    rows = engine.masked_rows(np.zeros_like(spec.graph.valid)[None], LARGE)[0]
    constant = sum(layer.attention.b_o for layer in spec.layers)
    torch.testing.assert_close(rows[0], normalise(spec.final_norm, constant), atol=1e-5, rtol=1e-5)


def test_no_circuits():
    spec = tiny_spec("llama")
    engine = Engine(spec, Task(random_prompts_of([4]), "zero"))
    assert engine.masked_rows(np.zeros((0, *spec.graph.valid.shape), dtype=bool), LARGE).shape[0] == 0


def test_padding_does_not_change_a_prompt():
    spec = tiny_spec("llama_gqa")
    prompts = random_prompts_of([2, 6, 3])
    edges = (spec.graph.valid & (np.random.default_rng(1).random(spec.graph.valid.shape) < 0.7))[None]
    together = Engine(spec, Task(prompts, "corrupt")).masked_rows(edges, LARGE)
    alone = [Engine(spec, Task((prompt,), "corrupt")).masked_rows(edges, LARGE) for prompt in prompts]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), atol=1e-5, rtol=1e-5)


def test_what_the_task_does_not_need_may_be_missing():
    first, second = random_prompts_of([4, 4])
    Engine(tiny_spec("llama"), Task((first, replace(second, corrupt_ids=None, wrong_id=None)), "zero"))


def test_prompts_that_do_not_fit_the_model():
    spec = tiny_spec("llama")
    fine = random_prompts_of([4])[0]
    with pytest.raises(KCircuitsError, match=r"prompt 2: id 61 is not in the model's vocabulary"):
        Engine(spec, Task((fine, replace(fine, answer_id=61)), "zero"))
    with pytest.raises(KCircuitsError, match=r"prompt 1: the prompt has 65 tokens.*64 positions"):
        Engine(spec, Task(random_prompts_of([65]), "zero"))


@pytest.mark.parametrize("ablation", ["zero", "corrupt", "mean", "mean-positional"])
def test_positions_that_are_kept(ablation):
    spec = with_kept_positions(tiny_spec("gpt2"))
    task = Task(random_prompts_of([5, 3]), ablation, reference=random_prompts_of([6, 4, 5], seed=1))
    edges = spec.graph.valid & (np.random.default_rng(0).random(spec.graph.valid.shape) < 0.6)
    edges[0] = False
    rows = Engine(spec, task).masked_rows(edges[None], LARGE)[0]
    expected = reference_runs(spec, task)(edges)
    torch.testing.assert_close(logits_of(spec, rows), expected, atol=1e-4, rtol=1e-4)
    # The corrupt run and the mean of a position have the same position embedding anyhow.
    same = torch.allclose(reference_runs(tiny_spec("gpt2"), task)(edges), expected, atol=1e-3)
    assert same == (ablation in ("corrupt", "mean-positional"))


def test_means_do_not_depend_on_portions():
    spec = tiny_spec("llama_gqa")
    task = Task(
        random_prompts_of([5, 2, 4]), "mean-positional", reference=random_prompts_of([3, 6, 5], seed=2)
    )
    edges = np.zeros_like(spec.graph.valid)[None]
    together = Engine(spec, task).masked_rows(edges, LARGE)
    portions = [engine.masked_rows(edges, LARGE) for engine in engines(spec, task, TINY)]
    assert len(portions) == 3
    torch.testing.assert_close(torch.cat(portions, dim=1), together, atol=1e-5, rtol=1e-5)


def test_half_precision_weights_are_computed_with_in_float32(narrow_spec):
    wide = as_dtype(narrow_spec, torch.float32)
    task = Task(random_prompts_of([4, 3]), "corrupt", "kl")
    edges = narrow_spec.graph.valid & (np.random.default_rng(0).random(narrow_spec.graph.valid.shape) < 0.7)
    narrow_rows = Engine(narrow_spec, task).masked_rows(edges[None], LARGE)
    wide_rows = Engine(wide, task).masked_rows(edges[None], LARGE)
    torch.testing.assert_close(narrow_rows, wide_rows, atol=1e-5, rtol=1e-5)
    narrow, wide = (Engine(spec, task).measure(edges[None], LARGE) for spec in (narrow_spec, wide))
    assert narrow == pytest.approx(wide, abs=1e-5)


def unchecked(part, **changes):
    """A part of a description with what its own class would refuse: the engine checks once more."""
    return SimpleNamespace(**{field.name: getattr(part, field.name) for field in fields(part)} | changes)


def with_first_layer(spec: ModelSpec, **changes) -> ModelSpec:
    return replace(spec, layers=(replace(spec.layers[0], **changes), *spec.layers[1:]))


def unknown_norms(spec: ModelSpec):
    layer = spec.layers[0]
    q_norm = unchecked(Norm("rmsnorm", weight=torch.ones(spec.head_dim)), kind="batchnorm")
    yield replace(spec, final_norm=unchecked(spec.final_norm, kind="batchnorm"))
    yield with_first_layer(spec, attention_norm=unchecked(layer.attention_norm, kind="RMSNorm"))
    yield with_first_layer(spec, mlp_norm=unchecked(layer.mlp_norm, kind=""))
    yield with_first_layer(spec, mlp_post_norm=unchecked(layer.mlp_norm, kind="l2"))
    yield with_first_layer(spec, attention=replace(layer.attention, q_norm=q_norm))


@pytest.mark.parametrize("place", range(5))
def test_unknown_norms_are_refused(place):
    """Not taken for none, which gives numbers of another model."""
    spec = list(unknown_norms(tiny_spec("llama")))[place]
    with pytest.raises(ValueError, match="norm must be 'none', 'layernorm' or 'rmsnorm', got '"):
        Engine(spec, Task(random_prompts_of([3])))


def test_unknown_words_are_refused():
    spec, task = tiny_spec("llama"), Task(random_prompts_of([3]))
    mlp = unchecked(spec.layers[0].mlp, activation="swish")
    with pytest.raises(ValueError, match=r"activation: expected .* got swish"):
        Engine(with_first_layer(spec, mlp=mlp), task)
    with pytest.raises(ValueError, match=r"layout: expected .* got disk"):
        Engine(spec, task, layout="disk")
    with pytest.raises(ValueError, match=r"metric: expected .* got loss"):
        Engine(spec, unchecked(task, metric="loss", is_mean=False))
    with pytest.raises(ValueError, match="rule: expected gradient or relevance, got lrp"):
        Engine(spec, task).path_scores([1.0], rule="lrp", qk_fix=False, memory=LARGE, progress=None)


def test_words_of_a_description_are_checked_when_it_is_made():
    with pytest.raises(
        KCircuitsError, match="norm: expected one of layernorm, rmsnorm, none, got 'batchnorm'"
    ):
        Norm("batchnorm")
    with pytest.raises(KCircuitsError, match=r"activation: expected one of .* got 'swish'"):
        replace(tiny_spec("llama").layers[0].mlp, activation="swish")


@pytest.mark.parametrize("shapes", [[(4, 4), (4, 4, False)], [(4, 4), (2, 2)], [(4, 2), (4, 4)]], ids=str)
def test_layers_that_differ_are_refused(shapes, monkeypatch):
    graph = Graph.of_layers([LayerShape(*shape) for shape in shapes])
    monkeypatch.setattr(ModelSpec, "graph", property(lambda self: graph))
    with pytest.raises(
        KCircuitsError, match="needs an MLP and the same number of heads in every layer; layer 1"
    ):
        Engine(tiny_spec("llama"), Task(random_prompts_of([3])))
    with pytest.raises(ValueError, match="needs an MLP and as many heads in every layer"):
        C.plan_runs(tiny_spec("llama"), "memory", 3, 1, 3, 1, LARGE)
