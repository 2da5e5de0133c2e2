"""What a family's file makes of a Hugging Face model, and what it refuses."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Olmo2Config,
    OPTConfig,
    PhiConfig,
    StableLmConfig,
    Starcoder2Config,
)
from transformers.activations import ACT2FN

from kcircuits.errors import KCircuitsError
from kcircuits.model.activations import ACTIVATIONS, activation
from kcircuits.model.devices import tensors_of
from kcircuits.model.families import FAMILIES, spec_of
from kcircuits.model.forward import activate, forward, position_ids
from kcircuits.model.spec import Experts
from tests.models import (
    BUILDERS,
    OPT,
    build,
    falcon,
    gpt2,
    like_llama,
    llama,
    of_family,
    random_prompts,
    tiny_model,
    tiny_spec,
)

# Queries and keys that lie in another order or mixed with values, and norms that are added to 1.
TAKEN_APART = {"gptj", "gptj_all_rotated", "gpt_neox", "gpt_neox_sequential", "gemma", "gemma2", "gemma3"} | {
    "falcon_biases",
    "falcon_new",
    "falcon_one_norm",
}


@pytest.mark.parametrize("name", sorted(BUILDERS.keys() - TAKEN_APART))
def test_weights_are_referenced_each_and_every_one(name):
    model = tiny_model(name)
    tensors = {tensor.untyped_storage().data_ptr() for tensor in tensors_of(tiny_spec(name))}
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    rotary = {buffer.untyped_storage().data_ptr() for buffer in model.buffers()}
    assert parameters <= tensors
    assert tensors <= parameters | rotary
    assert not any(tensor.requires_grad for tensor in tensors_of(tiny_spec(name)))


def test_matrices_are_the_parameters_or_views_of_them():
    model: Any = tiny_model("llama_gqa")
    spec = tiny_spec("llama_gqa")
    for layer, block in zip(spec.layers, model.model.layers, strict=True):
        assert layer.attention.w_k.data_ptr() == block.self_attn.k_proj.weight.data_ptr()
        assert layer.mlp.w_down.data_ptr() == block.mlp.down_proj.weight.data_ptr()
    model = tiny_model("gpt2")
    spec = tiny_spec("gpt2")
    for layer, block in zip(spec.layers, model.transformer.h, strict=True):
        packed = block.attn.c_attn.weight  # [in, 3 * out]: queries, keys, values side by side
        assert layer.attention.w_q.data_ptr() == packed.data_ptr()
        assert layer.attention.w_v.data_ptr() == packed[:, 64:].data_ptr()
        assert torch.equal(layer.attention.w_v, packed[:, 64:].t())


@pytest.mark.parametrize("name", BUILDERS)
def test_sizes(name):
    spec, config = tiny_spec(name), tiny_model(name).config
    assert spec.family == config.model_type
    assert (spec.num_heads, len(spec.layers)) == (4, 3)
    assert (spec.width, spec.vocab_size) == (config.hidden_size, config.vocab_size)
    assert spec.max_positions == config.max_position_embeddings
    assert (spec.embedding.data_ptr() == spec.unembedding.data_ptr()) == config.tie_word_embeddings
    graph = spec.graph
    assert (graph.num_layers, graph.num_heads, graph.num_kv_heads) == (3, 4, spec.num_kv_heads)
    assert spec.graph is graph  # made once
    for layer in spec.layers:
        attention = layer.attention
        assert attention.w_q.shape == (spec.num_heads * spec.head_dim, spec.width)
        assert attention.w_k.shape == attention.w_v.shape == (spec.num_kv_heads * spec.head_dim, spec.width)
        assert attention.w_o.shape == (spec.width, spec.num_heads * spec.head_dim)
        mlps = layer.mlp.experts if isinstance(layer.mlp, Experts) else (layer.mlp,)
        assert all(mlp.w_up.shape == mlp.w_down.t().shape for mlp in mlps)


def test_rotary_frequencies_keep_float32_in_a_bfloat16_model():
    model = build(lambda: llama(dtype=torch.bfloat16))
    rotary = spec_of(model).layers[0].attention.rotary
    expected = tiny_spec("llama").layers[0].attention.rotary
    assert rotary is not None and expected is not None
    assert torch.equal(rotary.inv_freq, expected.inv_freq)


@pytest.mark.parametrize("name", sorted(TAKEN_APART))
def test_what_is_taken_apart_leaves_the_large_matrices_where_they_are(name):
    model = tiny_model(name)
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    spec = tiny_spec(name)
    for layer in spec.layers:
        assert layer.attention.w_o.untyped_storage().data_ptr() in parameters
        assert layer.mlp.w_up.untyped_storage().data_ptr() in parameters
        assert layer.mlp.w_down.untyped_storage().data_ptr() in parameters
    assert spec.embedding.untyped_storage().data_ptr() in parameters


def test_an_unknown_family_is_refused_with_the_list_of_known_ones():
    model = BloomForCausalLM(BloomConfig(hidden_size=8, n_layer=1, n_head=2, vocab_size=8))
    with pytest.raises(KCircuitsError, match=r"'bloom' is not known; known: falcon, gemma, .*, stablelm"):
        spec_of(model)


def test_every_family_is_tested():
    assert {tiny_model(name).config.model_type for name in BUILDERS} == FAMILIES.keys()


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (lambda: gpt2(add_cross_attention=True), r"cross-attention is not supported"),
        (lambda: gpt2(activation_function="tanh"), r"'tanh' is not known; known: gelu, "),
        (lambda: falcon(alibi=True), r"ALiBi is not supported"),
        (lambda: like_llama(Gemma2Config, attention_bias=True), r"before a norm is not supported"),
        (lambda: like_llama(Olmo2Config, attention_bias=True), r"before a norm is not supported"),
        (lambda: of_family(OPTConfig, **OPT | {"word_embed_proj_dim": 16}), r"OPT-350M"),
        (lambda: like_llama(PhiConfig, qk_layernorm=True), r"not supported in Phi"),
        (lambda: like_llama(StableLmConfig, qk_layernorm=True), r"not supported in StableLM"),
        (lambda: llama(hidden_act="tanh"), r"'tanh' is not known"),
    ],
)
def test_variants_that_are_not_covered_are_refused(builder, message):
    with pytest.raises(KCircuitsError, match=message):
        spec_of(build(builder))


def test_a_rotary_embedding_of_an_unknown_type_is_refused():
    model: Any = build(llama)
    model.model.rotary_emb.rope_type = "axial"
    with pytest.raises(KCircuitsError, match=r"type 'axial' is not supported; known: default, linear, "):
        spec_of(model)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_compute_what_their_hugging_face_names_say(name):
    x = torch.linspace(-6, 6, 301)
    torch.testing.assert_close(activate(activation(name), x), ACT2FN[name](x), atol=1e-5, rtol=0)


def test_the_documented_example_reads_a_new_family():
    text = (Path(__file__).parents[2] / "docs" / "adding-a-family.md").read_text(encoding="utf-8")
    match = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert match is not None and match[1].count("\n") < 60
    names: dict[str, Any] = {}
    exec(match[1], names)
    model = build(partial(like_llama, Starcoder2Config))
    tokens, mask = random_prompts([4, 9, 1])
    with torch.no_grad():
        expected = model(tokens, attention_mask=mask.long(), position_ids=position_ids(mask)).logits
    logits = forward(names["spec"](model), tokens, mask)
    torch.testing.assert_close(logits[mask], expected[mask], atol=1e-4, rtol=0)
