"""What the engine lets be read off its runs, against the reference forward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kcircuits.data.prompts import Prompt
from kcircuits.engine import Engine
from kcircuits.model.forward import masked_forward, normalise, read_out
from kcircuits.model.quantised import dense
from kcircuits.model.spec import ModelSpec
from kcircuits.model.transforms import with_kept_positions
from kcircuits.task import Task
from tests.circuits import masks
from tests.covers import every_value
from tests.models import BUILDERS, tiny_spec
from tests.tasks import ablated_values, outputs, padded_prompts, random_prompts_of

LARGE, TINY = 2**30, 1
PROMPTS = random_prompts_of([5, 2, 4])


def last_rows(engine: Engine) -> torch.Tensor:
    return torch.tensor(engine.starts[1:]) - 1


def shallow(spec: ModelSpec, layers: int) -> ModelSpec:
    return replace(spec, layers=spec.layers[:layers])


def shallow_mask(spec: ModelSpec, mask: np.ndarray, layers: int) -> torch.Tensor:
    """The edges between the senders and receivers of the first layers, and theirs into the logits."""
    graph = shallow(spec, layers).graph
    columns = [*range(len(graph.receivers) - 1), len(spec.graph.receivers) - 1]
    return torch.as_tensor(mask[: len(graph.senders)][:, columns])


@pytest.mark.parametrize("name", BUILDERS)
@settings(max_examples=6)
@given(data=st.data())
def test_the_stream_behind_some_layers_is_that_of_a_model_of_these(name, data):
    ablation = data.draw(st.sampled_from(["zero", "corrupt", "mean", "mean-positional"]))
    spec, task = tiny_spec(name), Task(PROMPTS, ablation)
    edges = np.stack([data.draw(masks(spec.graph)) for _ in range(data.draw(st.integers(1, 3)))])
    engine = Engine(spec, task)
    memory = data.draw(st.sampled_from([TINY, LARGE]))
    streams = engine.masked_streams(edges, last_rows(engine), memory)
    ours = read_out(spec, normalise(spec.final_norm, streams))  # [M, L + 1, N, V]
    padded, mask = padded_prompts(task)
    ablated = ablated_values(spec, task)
    for circuit, logits in zip(edges, ours, strict=True):
        for layers in range(len(spec.layers) + 1):
            few, its_mask = shallow(spec, layers), shallow_mask(spec, circuit, layers)
            expected = masked_forward(few, padded.clean, mask, its_mask, ablated[: len(its_mask)])[:, -1]
            torch.testing.assert_close(logits[layers], expected, atol=1e-4, rtol=1e-4)


def test_streams_at_any_rows_and_in_any_layout():
    spec, task = tiny_spec("gpt2"), Task(PROMPTS, "corrupt")
    edges = (spec.graph.valid & (np.random.default_rng(0).random(spec.graph.valid.shape) < 0.6))[None]
    rows = torch.tensor([3, 0, 10])
    together = Engine(spec, task).masked_streams(edges, torch.arange(11), LARGE)
    few = Engine(spec, task, layout="recomputed").masked_streams(edges, rows, LARGE)
    torch.testing.assert_close(few, together[:, :, rows], atol=1e-5, rtol=1e-5)


def test_the_last_stream_is_the_run_itself():
    spec, task = tiny_spec("gemma2"), Task(PROMPTS, "mean")
    edges = (spec.graph.valid & (np.random.default_rng(1).random(spec.graph.valid.shape) < 0.6))[None]
    engine = Engine(spec, task)
    streams = engine.masked_streams(edges, last_rows(engine), LARGE)[:, -1]
    torch.testing.assert_close(
        normalise(spec.final_norm, streams), engine.masked_rows(edges, LARGE), atol=1e-5, rtol=1e-5
    )


@every_value(name=list(BUILDERS), ablation=["zero", "corrupt"])
def test_senders_are_those_of_the_reference(name, ablation):
    spec = tiny_spec(name)
    expected = torch.cat([outputs(spec, prompt.clean_ids) for prompt in PROMPTS], dim=1)
    engine = Engine(spec, Task(PROMPTS, ablation))
    assert engine.starts == [0, 5, 7, 11]
    torch.testing.assert_close(engine.senders(), expected, atol=1e-4, rtol=1e-4)


def test_senders_of_a_model_whose_positions_stay():
    """Positions are part of what `input` sends, whether an ablation takes them away or not."""
    spec = tiny_spec("gpt2")
    kept = Engine(with_kept_positions(spec), Task(PROMPTS, "zero")).senders()
    torch.testing.assert_close(kept, Engine(spec, Task(PROMPTS, "zero")).senders(), atol=1e-6, rtol=1e-6)


def mixed(spec: ModelSpec, layer: int, pattern: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Heads' outputs of one prompt, [H, T, D], from its pattern [H, T, T] and values [K, T, d]."""
    block = spec.layers[layer]
    mixtures = pattern @ values.repeat_interleave(spec.num_heads // spec.num_kv_heads, dim=0)
    per_head = dense(block.attention.w_o).unflatten(1, (spec.num_heads, spec.head_dim))  # [D, H, d]
    heads = torch.einsum("htd,Dhd->htD", mixtures, per_head)
    norm = block.attention_post_norm
    if norm is None:
        return heads
    scale = torch.rsqrt(heads.sum(dim=0).square().mean(dim=-1, keepdim=True) + norm.eps)
    return heads * scale * norm.weight


@pytest.mark.parametrize("name", BUILDERS)
def test_patterns_and_values_make_the_heads_outputs(name):
    spec = tiny_spec(name)
    engine = Engine(spec, Task(PROMPTS, "zero"))
    senders = engine.senders()
    for layer in range(len(spec.layers)):
        pattern, values = engine.attention(layer)
        first = 1 + layer * (spec.num_heads + 1)
        for n, prompt in enumerate(PROMPTS):
            length, rows = len(prompt.clean_ids), slice(engine.starts[n], engine.starts[n + 1])
            weights = pattern[:, n, :length, :length]
            assert weights.min() >= 0
            assert weights.triu(1).abs().max() == 0
            if spec.layers[layer].attention.sinks is None:
                torch.testing.assert_close(weights.sum(-1), torch.ones(spec.num_heads, length))
            heads = mixed(spec, layer, weights, values[:, rows])
            expected = senders[first : first + spec.num_heads, rows]
            torch.testing.assert_close(heads, expected, atol=1e-4, rtol=1e-4)


def test_there_are_no_other_layers():
    engine = Engine(tiny_spec("llama"), Task((Prompt((1, 2), 3),), "zero"))
    with pytest.raises(ValueError, match="layer: expected 0 to 2, got 3"):
        engine.attention(3)
