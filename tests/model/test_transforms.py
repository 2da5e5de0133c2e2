"""Folding value biases: the same model, another ablation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward, forward_senders
from kcircuits.model.transforms import with_folded_value_biases
from tests.models import BUILDERS, as_dtype, random_prompts, tiny_spec


@pytest.mark.parametrize("name", sorted(BUILDERS.keys() - {"gpt_oss"}))
def test_logits_stay(name):
    spec = tiny_spec(name)
    folded = with_folded_value_biases(spec)
    assert all(layer.attention.b_v is None for layer in folded.layers)
    prompts = random_prompts([4, 7])
    torch.testing.assert_close(forward(folded, *prompts), forward(spec, *prompts), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["gpt2", "llama_biases"])
def test_heads_lose_a_constant_that_the_stream_keeps(name):
    spec = tiny_spec(name)
    folded = with_folded_value_biases(spec)
    prompts = random_prompts([5])
    before, after = forward_senders(spec, *prompts), forward_senders(folded, *prompts)
    for layer, (old, new) in enumerate(zip(spec.layers, folded.layers, strict=True)):
        first = spec.graph.sender_index(f"a{layer}.h0")
        heads = slice(first, first + spec.num_heads)
        lost = (before.senders[heads] - after.senders[heads]).sum(dim=0)  # [1, T, D]
        assert new.attention.b_o is not None and old.attention.b_o is not None
        gained = new.attention.b_o - old.attention.b_o
        assert gained.abs().max() > 0.1
        torch.testing.assert_close(lost, gained.expand_as(lost), atol=1e-4, rtol=0)


def test_narrow_biases_are_folded_without_rounding():
    narrow = as_dtype(tiny_spec("gpt2"), torch.bfloat16)
    wide = with_folded_value_biases(as_dtype(narrow, torch.float32))
    for ours, exact in zip(with_folded_value_biases(narrow).layers, wide.layers, strict=True):
        torch.testing.assert_close(ours.attention.b_o, exact.attention.b_o, atol=1e-6, rtol=0)


def test_sinks_leave_no_constant():
    with pytest.raises(KCircuitsError, match="cannot be folded in gpt_oss: with attention sinks"):
        with_folded_value_biases(tiny_spec("gpt_oss"))


def test_a_model_without_value_biases_is_untouched():
    spec = tiny_spec("llama")
    assert with_folded_value_biases(spec) == spec


def test_an_output_bias_is_made_where_there_was_none():
    spec = tiny_spec("llama_biases")
    layers = tuple(replace(layer, attention=replace(layer.attention, b_o=None)) for layer in spec.layers)
    spec = replace(spec, layers=layers)
    folded = with_folded_value_biases(spec)
    prompts = random_prompts([5])
    torch.testing.assert_close(forward(folded, *prompts), forward(spec, *prompts), atol=1e-4, rtol=0)


def test_the_given_model_is_not_written_to():
    attention = tiny_spec("gpt2").layers[0].attention
    assert attention.b_v is not None and attention.b_o is not None
    b_v, b_o = attention.b_v.clone(), attention.b_o.clone()
    with_folded_value_biases(tiny_spec("gpt2"))
    assert torch.equal(attention.b_v, b_v)
    assert torch.equal(attention.b_o, b_o)
