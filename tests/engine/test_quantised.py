"""The engine on matrices of few bits: what it is on the dequantised ones, to the rounding of float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kcircuits.engine import Engine
from kcircuits.model.devices import tensors_of
from kcircuits.model.forward import forward, read_out
from kcircuits.model.quantised import QuantisedWeight, dense, pack_codes
from kcircuits.planning.memory import weights_bytes
from kcircuits.task import Task
from tests.covers import every_value, pairwise
from tests.models import BUILDERS, dequantised, quantised_spec, random_prompts, tiny_spec
from tests.tasks import random_prompts_of, reference_runs

LARGE = 2**30


@every_value(name=list(BUILDERS), bits=[4, 8])
def test_logits_of_every_family(name, bits):
    spec = quantised_spec(name, bits)
    task = Task(random_prompts_of([5, 2]), "corrupt")
    rng = np.random.default_rng(0)
    edges = np.stack([spec.graph.valid & (rng.random(spec.graph.valid.shape) < p) for p in (0.5, 1.0)])
    rows = Engine(spec, task).masked_rows(edges, LARGE)
    runs = reference_runs(dequantised(spec), task)
    expected = torch.stack([runs(mask) for mask in edges])
    torch.testing.assert_close(read_out(spec, rows), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mixtral", "gpt_oss"])
def test_the_reference_forward_dequantises_what_it_multiplies_with(name):
    spec = quantised_spec(name, 4)
    prompts = random_prompts([4, 6])
    torch.testing.assert_close(forward(spec, *prompts), forward(dequantised(spec), *prompts))
    assert (forward(spec, *prompts) - forward(tiny_spec(name), *prompts)).abs().max() > 1e-3


@pairwise(name=["gpt2", "llama_biases", "gemma2"], metric=["nll", "kl", "logit-diff"], bits=[4, 8])
def test_metrics_and_scores(name, metric, bits):
    spec = quantised_spec(name, bits)
    task = Task(random_prompts_of([5, 3, 4]), "corrupt", metric=metric)
    ours, expected = Engine(spec, task), Engine(dequantised(spec), task)
    rows = expected.full_rows()[None]
    torch.testing.assert_close(ours.metric(rows), expected.metric(rows), atol=1e-5, rtol=1e-5)

    def path(engine: Engine) -> torch.Tensor:
        return engine.path_scores([0.0, 0.5, 1.0], rule="gradient", qk_fix=True, memory=LARGE, progress=None)

    wanted = path(expected)
    torch.testing.assert_close(path(ours), wanted, atol=1e-5 * float(wanted.abs().max()), rtol=1e-4)


def test_a_vocabulary_of_several_parts():
    """A wide one is read part by part; the answers are in different ones."""
    torch.manual_seed(0)
    spec = quantised_spec("llama", 8)
    words, width = 40_000, spec.width
    values = torch.randn(words, width)
    codes = (values * 30).round().clamp(-127, 127).to(torch.int8)
    unembedding = QuantisedWeight(codes, torch.rand(words, 1).half() * 0.02, width)
    spec = replace(spec, unembedding=unembedding, unembedding_bias=torch.randn(words))
    prompts = tuple(
        replace(prompt, answer_id=answer)
        for prompt, answer in zip(random_prompts_of([3, 2, 4, 3]), [5, 32_767, 32_768, 39_999], strict=True)
    )
    task = Task(prompts, "zero")
    rows = torch.randn(2, 4, width)
    expected = Engine(dequantised(spec), task).metric(rows)
    torch.testing.assert_close(Engine(spec, task).metric(rows), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head_dim", [8, 12, 24])
def test_a_heads_columns_need_not_be_whole_groups_or_blocks(head_dim):
    """w_o is taken apart by columns, here inside groups of 16 that share a block's scale by fours."""
    torch.manual_seed(0)
    spec = replace(tiny_spec("llama"), head_dim=head_dim)
    heads, width = spec.num_heads * head_dim, spec.width

    def random_weight(rows: int, columns: int) -> QuantisedWeight:
        groups = -(-columns // 64) * 4
        return QuantisedWeight(
            pack_codes(torch.randint(16, (rows, groups, 16), dtype=torch.uint8)),
            torch.randint(1, 64, (rows, groups), dtype=torch.uint8),
            columns,
            group=16,
            offset=torch.randint(1, 64, (rows, groups), dtype=torch.uint8),
            block_scale=(torch.rand(rows, groups // 4) / 500).half(),
            block_offset=(-torch.rand(rows, groups // 4) / 100).half(),
        )

    def changed(layer):
        new = {part: random_weight(heads, width) for part in ("w_q", "w_k", "w_v")}
        rotary = replace(layer.attention.rotary, inv_freq=torch.rand(head_dim // 2))
        attention = replace(layer.attention, **new, w_o=random_weight(width, heads), rotary=rotary)
        return replace(layer, attention=attention)

    spec = replace(spec, layers=tuple(map(changed, spec.layers)))
    task = Task(random_prompts_of([5, 3]), "corrupt")
    mask = spec.graph.valid & (np.random.default_rng(1).random(spec.graph.valid.shape) < 0.7)
    ours, expected = Engine(spec, task), Engine(dequantised(spec), task)
    torch.testing.assert_close(
        ours.masked_rows(mask[None], LARGE), expected.masked_rows(mask[None], LARGE), atol=1e-5, rtol=1e-4
    )


def test_bytes_of_the_weights():
    spec = quantised_spec("llama_tied", 4)
    assert spec.embedding is spec.unembedding
    sizes = {id(part): part.nbytes for part in tensors_of(spec)}
    assert weights_bytes(spec) == sum(sizes.values())
    exact = tiny_spec("llama_tied")
    assert isinstance(exact.embedding, torch.Tensor)
    assert isinstance(spec.embedding, QuantisedWeight)
    # 32 numbers of 4 bits, a scale and an offset.
    assert sum(part.nbytes for part in tensors_of(spec.embedding)) == exact.embedding.numel() * 20 / 32
    assert dense(spec.embedding).shape == exact.embedding.shape
