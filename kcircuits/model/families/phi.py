"""Phi 1, 1.5 and 2."""

from __future__ import annotations

from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.families.common import bias, decoder, layer_norm, plain_mlp, rotary
from kcircuits.model.families.llama import attention
from kcircuits.model.spec import Layer, ModelSpec


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `PhiForCausalLM`: a parallel block with one norm; raises KCircuitsError for qk_layernorm."""
    config, angles = hf_model.config, rotary(hf_model.model.rotary_emb)
    if config.qk_layernorm:
        raise KCircuitsError("norms of queries and keys are not supported in Phi: qk_layernorm=true")

    def layer(block: Any) -> Layer:
        norm = layer_norm(block.input_layernorm)
        return Layer(
            attention_norm=norm,
            attention=attention(block.self_attn, angles, config, out="dense"),
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
