"""Gemma 1, 2 and 3 (text)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.families.common import check_no_output_bias, decoder, gated_mlp, rms_norm, rotary
from kcircuits.model.families.llama import attention
from kcircuits.model.spec import Attention, Layer, ModelSpec, Norm, Rotary


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `GemmaForCausalLM`: like LLaMA, with norm weights added to 1 and scaled embeddings."""
    angles, config = rotary(hf_model.model.rotary_emb), hf_model.config

    def layer(block: Any) -> Layer:
        return Layer(
            attention_norm=_norm(block.input_layernorm),
            attention=attention(block.self_attn, angles, config),
            mlp_norm=_norm(block.post_attention_layernorm),
            mlp=gated_mlp(block.mlp, config.hidden_act),
        )

    return _decoder(hf_model, layer)


def post_norm_spec(hf_model: Any) -> ModelSpec:
    """Describe a `Gemma2ForCausalLM` or `Gemma3ForCausalLM`.

    They also have norms after attention and MLP, and windows in some layers. Gemma 2 has soft caps of
    attention and logits; Gemma 3 has norms of each query and key, and other angles in layers with a window.
    Raises KCircuitsError for bidirectional attention.
    """
    config = hf_model.config
    if getattr(config, "use_bidirectional_attention", False):
        raise KCircuitsError("attention to later tokens is not supported: use_bidirectional_attention=true")

    def layer(block: Any) -> Layer:
        check_no_output_bias(block.self_attn)
        return Layer(
            attention_norm=_norm(block.input_layernorm),
            attention=_attention(block.self_attn, _angles(hf_model.model.rotary_emb, block), config),
            attention_post_norm=_norm(block.post_attention_layernorm),
            mlp_norm=_norm(block.pre_feedforward_layernorm),
            mlp=gated_mlp(block.mlp, config.hidden_activation),
            mlp_post_norm=_norm(block.post_feedforward_layernorm),
        )

    return _decoder(hf_model, layer, logit_soft_cap=config.final_logit_softcapping)


def _decoder(hf_model: Any, layer: Any, **more: Any) -> ModelSpec:
    scale = hf_model.config.hidden_size**0.5
    return decoder(hf_model, layer, norm=_norm(hf_model.model.norm), embedding_scale=scale, **more)


def _attention(module: Any, angles: Rotary, config: Any) -> Attention:
    soft_cap = config.attn_logit_softcapping
    if not hasattr(module, "q_norm"):
        return attention(module, angles, config, soft_cap=soft_cap)
    # Gemma 3 has this key, too, but Transformers does not use it.
    read = attention(module, angles, config)
    return replace(read, q_norm=_norm(module.q_norm), k_norm=_norm(module.k_norm))


def _angles(module: Any, block: Any) -> Rotary:
    by_type = isinstance(module.rope_type, dict)
    return rotary(module, block.self_attn.layer_type if by_type else None)


def _norm(module: Any) -> Norm:
    return rms_norm(module, unit_offset=True)
