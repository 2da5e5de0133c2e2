"""GPT-NeoX and Pythia."""

from __future__ import annotations

from typing import Any

from kcircuits.model.families.common import (
    fused_attention,
    layer_norm,
    max_positions,
    plain_mlp,
    rotary,
    weight,
)
from kcircuits.model.spec import Layer, ModelSpec, Rotary


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `GPTNeoXForCausalLM`, parallel or sequential."""
    config, body = hf_model.config, hf_model.gpt_neox
    angles = rotary(body.rotary_emb)
    return ModelSpec(
        family=config.model_type,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        embedding=weight(body.embed_in),
        layers=tuple(_layer(block, angles, config) for block in body.layers),
        final_norm=layer_norm(body.final_layer_norm),
        unembedding=weight(hf_model.lm_head),
        max_positions=max_positions(config),
        parallel=config.use_parallel_residual,
    )


def _layer(block: Any, angles: Rotary, config: Any) -> Layer:
    return Layer(
        attention_norm=layer_norm(block.input_layernorm),
        attention=fused_attention(
            block.attention.query_key_value,
            block.attention.dense,
            groups=config.num_attention_heads,
            heads=1,
            head_dim=config.hidden_size // config.num_attention_heads,
            angles=angles,
        ),
        mlp_norm=layer_norm(block.post_attention_layernorm),
        mlp=plain_mlp(block.mlp.dense_h_to_4h, block.mlp.dense_4h_to_h, config.hidden_act),
    )
