"""OPT."""

from __future__ import annotations

from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.families.common import layer_norm, plain_mlp, weight
from kcircuits.model.families.llama import attention
from kcircuits.model.spec import Layer, ModelSpec, Norm

POSITION_OFFSET = 2  # unused rows at the start of the position embedding


def spec(hf_model: Any) -> ModelSpec:
    """Describe an `OPTForCausalLM`.

    Raises KCircuitsError for the 350M model, which has norms on the stream itself and projected embeddings.
    """
    config, body = hf_model.config, hf_model.model.decoder
    if not config.do_layer_norm_before or config.word_embed_proj_dim != config.hidden_size:
        raise KCircuitsError(
            "OPT models with norms on the stream or projected embeddings (OPT-350M) are not supported"
        )
    return ModelSpec(
        family=config.model_type,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        embedding=weight(body.embed_tokens),
        positions=weight(body.embed_positions)[POSITION_OFFSET:],
        layers=tuple(_layer(block, config) for block in body.layers),
        final_norm=Norm("none") if body.final_layer_norm is None else layer_norm(body.final_layer_norm),
        unembedding=weight(hf_model.lm_head),
        max_positions=config.max_position_embeddings,
    )


def _layer(block: Any, config: Any) -> Layer:
    return Layer(
        attention_norm=layer_norm(block.self_attn_layer_norm),
        attention=attention(block.self_attn, None, config, out="out_proj"),
        mlp_norm=layer_norm(block.final_layer_norm),
        mlp=plain_mlp(block.fc1, block.fc2, config.activation_function),
    )
