"""Phi 1, 1.5 and 2."""

from __future__ import annotations

from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.families.common import bias, decoder, layer_norm, plain_mlp, rotary, weight
from kcircuits.model.spec import Attention, Layer, ModelSpec


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `PhiForCausalLM`: a parallel block with one norm; raises KCircuitsError for qk_layernorm."""
    config, angles = hf_model.config, rotary(hf_model.model.rotary_emb)
    if config.qk_layernorm:
        raise KCircuitsError("norms of queries and keys are not supported in Phi: qk_layernorm=true")

    def layer(block: Any) -> Layer:
        attention, norm = block.self_attn, layer_norm(block.input_layernorm)
        return Layer(
            attention_norm=norm,
            attention=Attention(
                w_q=weight(attention.q_proj),
                w_k=weight(attention.k_proj),
                w_v=weight(attention.v_proj),
                w_o=weight(attention.dense),
                b_q=bias(attention.q_proj),
                b_k=bias(attention.k_proj),
                b_v=bias(attention.v_proj),
                b_o=bias(attention.dense),
                scale=float(attention.scaling),
                rotary=angles,
            ),
            mlp_norm=norm,
            mlp=plain_mlp(block.mlp.fc1, block.mlp.fc2, config.hidden_act),
        )

    return decoder(
        hf_model,
        layer,
        norm=layer_norm(hf_model.model.final_layernorm),
        unembedding_bias=bias(hf_model.lm_head),
        parallel=True,
    )
