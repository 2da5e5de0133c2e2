"""StableLM."""

from __future__ import annotations

from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.families.common import decoder, gated_mlp, layer_norm, rotary
from kcircuits.model.families.llama import attention
from kcircuits.model.spec import Layer, ModelSpec


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `StableLmForCausalLM`, parallel or sequential; raises KCircuitsError for qk_layernorm."""
    config, angles = hf_model.config, rotary(hf_model.model.rotary_emb)
    if config.qk_layernorm:
        raise KCircuitsError("norms of queries and keys are not supported in StableLM: qk_layernorm=true")

    def layer(block: Any) -> Layer:
        norm = layer_norm(block.input_layernorm)
        parallel = block.post_attention_layernorm is None
        return Layer(
            attention_norm=norm,
            attention=attention(block.self_attn, angles, config),
            mlp_norm=norm if parallel else layer_norm(block.post_attention_layernorm),
            mlp=gated_mlp(block.mlp, config.hidden_act),
        )

    return decoder(
        hf_model, layer, norm=layer_norm(hf_model.model.norm), parallel=config.use_parallel_residual
    )
