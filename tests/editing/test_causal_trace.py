"""Causal tracing, against a run with its parts written out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kcircuits.editing import causal_trace as module
from kcircuits.editing.causal_trace import causal_trace
from kcircuits.editing.facts import fact_prompt
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import (
    attention_outputs,
    embed,
    linear,
    mlp_outputs,
    normalise,
    split_heads,
    unembed,
)
from tests.editing.conftest import model_named, request

# Sequential, parallel, and with norms behind its blocks.
FAMILIES = ("llama_gqa", "gpt_neox", "gemma2")


def by_hand(spec, x, restored):
    """Logits [T, V] and what MLPs add [L][T, D]; `restored[layer]` = (position, row) replaces a row."""
    positions = torch.arange(x.shape[0])[None]
    mask, written = torch.ones_like(positions, dtype=torch.bool), []
    x = x[None]
    for number, layer in enumerate(spec.layers):
        attention, normed = layer.attention, normalise(layer.attention_norm, x)
        q, k, v = (
            split_heads(linear(normed, weight, bias), spec.head_dim)
            for weight, bias in (
                (attention.w_q, attention.b_q),
                (attention.w_k, attention.b_k),
                (attention.w_v, attention.b_v),
            )
        )
        after = x + attention_outputs(layer, q, k, v, positions, mask).sum(dim=0)
        if attention.b_o is not None:
            after = after + attention.b_o
        added = mlp_outputs(layer, normalise(layer.mlp_norm, x if spec.parallel else after)).clone()
        if number in restored:
            position, row = restored[number]
            added[0, position] = row
        written.append(added[0])
        x = after + added
    return unembed(spec, x)[0], written


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("window", [1, 2])
def test_it_is_the_run_by_hand(name, window):
    model, spec = model_named(name), model_named(name).spec
    prompt = fact_prompt(model, request(), "Norway")
    start, stop = prompt.subject
    found = causal_trace(model, prompt, window=window, samples=2, seed=3)
    ids = torch.tensor(prompt.clean_ids)
    clean = embed(spec, ids[None], torch.arange(len(ids))[None])[0]
    noise = torch.randn(2, stop - start, spec.width, generator=torch.Generator().manual_seed(3))
    sigma = module.NOISE * spec.embedding[: module.WORDS].std() * spec.embedding_scale
    logits, ordinary = by_hand(spec, clean, {})

    def probability(restored):
        total = 0.0
        for each in noise:
            blurred = clean.clone()
            blurred[start:stop] += sigma * each
            total += float(by_hand(spec, blurred, restored)[0][-1].softmax(dim=-1)[prompt.answer_id])
        return total / len(noise)

    assert found.clean == pytest.approx(float(logits[-1].softmax(dim=-1)[prompt.answer_id]), abs=1e-5)
    assert found.corrupted == pytest.approx(probability({}), abs=1e-5)
    for layer, restored in enumerate(found.restored):
        around = range(layer - window // 2, layer - window // 2 + window)
        rows = {n: (stop - 1, ordinary[n][stop - 1]) for n in around if 0 <= n < len(spec.layers)}
        assert restored == pytest.approx(probability(rows), abs=1e-5)
    assert found.effects[found.layer] == max(found.effects)


def test_without_noise_nothing_is_to_be_restored(model, monkeypatch):
    monkeypatch.setattr(module, "NOISE", 0.0)
    found = causal_trace(model, fact_prompt(model, request(), "Norway"))
    assert found.corrupted == pytest.approx(found.clean, abs=1e-6)
    assert found.effects == pytest.approx([0.0] * len(found.effects), abs=1e-6)


def test_bad_input(model):
    prompt = fact_prompt(model, request(), "Norway")
    with pytest.raises(KCircuitsError, match="subject"):
        causal_trace(model, replace(prompt, subject=None))
    with pytest.raises(KCircuitsError, match="samples"):
        causal_trace(model, prompt, samples=0)
    with pytest.raises(KCircuitsError, match="window"):
        causal_trace(model, prompt, window=99)
    with pytest.raises(KCircuitsError, match="experts"):
        causal_trace(model_named("mixtral"), prompt)
