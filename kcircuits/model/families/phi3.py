"""Phi-3: LLaMA's architecture with fused projections."""

from __future__ import annotations

from typing import Any

from kcircuits.model.activations import activation
from kcircuits.model.families.common import decoder, rms_norm, rotary, weight
from kcircuits.model.spec import Attention, Layer, Mlp, ModelSpec


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `Phi3ForCausalLM`; queries, keys and values, and gate and up, are views of one matrix."""
    config, angles = hf_model.config, rotary(hf_model.model.rotary_emb)

    def layer(block: Any) -> Layer:
        attention, mlp = block.self_attn, block.mlp
        queries = config.num_attention_heads * attention.head_dim
        keys = config.num_key_value_heads * attention.head_dim
        w_q, w_k, w_v = weight(attention.qkv_proj).split([queries, keys, keys])
        w_gate, w_up = weight(mlp.gate_up_proj).chunk(2)
        return Layer(
            attention_norm=rms_norm(block.input_layernorm),
            attention=Attention(
                w_q=w_q,
                w_k=w_k,
                w_v=w_v,
                w_o=weight(attention.o_proj),
                scale=float(attention.scaling),
                rotary=angles,
                window=config.sliding_window,
            ),
            mlp_norm=rms_norm(block.post_attention_layernorm),
            mlp=Mlp(activation(config.hidden_act), w_up, weight(mlp.down_proj), w_gate=w_gate),
        )

    return decoder(hf_model, layer)
