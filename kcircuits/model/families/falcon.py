"""Falcon: the architectures of 7B and 40B, parallel or sequential."""

from __future__ import annotations

from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.families.common import (
    check_rotated,
    fused_attention,
    layer_norm,
    max_positions,
    plain_mlp,
    rotary,
    weight,
)
from kcircuits.model.spec import Layer, ModelSpec, Norm, Rotary


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `FalconForCausalLM`.

    Raises KCircuitsError for ALiBi, which has no rotary embedding, and for unused norms.
    """
    config, body = hf_model.config, hf_model.transformer
    if config.alibi:
        raise KCircuitsError("ALiBi is not supported: the configuration has alibi=true")
    if config.num_ln_in_parallel_attn == 2 and not config.new_decoder_architecture:
        raise KCircuitsError("num_ln_in_parallel_attn=2 needs new_decoder_architecture=true")
    angles = rotary(body.rotary_emb)
    check_rotated(angles, config.hidden_size // config.num_attention_heads)
    return ModelSpec(
        family=config.model_type,
        num_heads=config.num_attention_heads,
        num_kv_heads=_num_kv_heads(config),
        head_dim=config.hidden_size // config.num_attention_heads,
        embedding=weight(body.word_embeddings),
        layers=tuple(_layer(block, angles, config) for block in body.h),
        final_norm=layer_norm(body.ln_f),
        unembedding=weight(hf_model.lm_head),
        max_positions=max_positions(config),
        parallel=config.new_decoder_architecture or config.parallel_attn,
    )


def _num_kv_heads(config: Any) -> int:
    if config.new_decoder_architecture:
        return int(config.num_kv_heads)
    if config.multi_query:
        return 1
    if config.num_kv_heads != config.num_attention_heads:
        raise KCircuitsError(
            f"num_kv_heads={config.num_kv_heads} needs multi_query or new_decoder_architecture, or as many "
            f"heads as queries have, {config.num_attention_heads}"
        )
    return int(config.num_attention_heads)


def _layer(block: Any, angles: Rotary, config: Any) -> Layer:
    attention_norm, mlp_norm = _norms(block, config)
    groups = _num_kv_heads(config)
    return Layer(
        attention_norm=attention_norm,
        attention=fused_attention(
            block.self_attention.query_key_value,
            block.self_attention.dense,
            groups=groups,
            heads=config.num_attention_heads // groups,
            head_dim=config.hidden_size // config.num_attention_heads,
            angles=angles,
        ),
        mlp_norm=mlp_norm,
        mlp=plain_mlp(block.mlp.dense_h_to_4h, block.mlp.dense_4h_to_h, config.activation),
    )


def _norms(block: Any, config: Any) -> tuple[Norm, Norm]:
    """The norms of attention and MLP."""
    if config.new_decoder_architecture and hasattr(block, "ln_attn"):
        return layer_norm(block.ln_attn), layer_norm(block.ln_mlp)
    norm = layer_norm(block.input_layernorm)
    if config.new_decoder_architecture or config.parallel_attn:
        return norm, norm
    return norm, layer_norm(block.post_attention_layernorm)
