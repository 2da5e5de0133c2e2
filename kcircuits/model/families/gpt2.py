"""GPT-2."""

from __future__ import annotations

from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.activations import activation
from kcircuits.model.families.common import layer_norm
from kcircuits.model.spec import Attention, Layer, Mlp, ModelSpec


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `GPT2LMHeadModel`.

    Its `Conv1D` stores weights as [in, out], with queries, keys and values in one matrix; views undo both.
    Raises KCircuitsError for a model with cross-attention.
    """
    config, body = hf_model.config, hf_model.transformer
    if config.add_cross_attention:
        raise KCircuitsError(
            "cross-attention is not supported: the configuration has add_cross_attention=true"
        )
    return ModelSpec(
        family=config.model_type,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        embedding=body.wte.weight.detach(),
        positions=body.wpe.weight.detach(),
        layers=tuple(_layer(block, index, config) for index, block in enumerate(body.h)),
        final_norm=layer_norm(body.ln_f),
        unembedding=hf_model.lm_head.weight.detach(),
        max_positions=config.max_position_embeddings,
    )


def _layer(block: Any, index: int, config: Any) -> Layer:
    w_q, w_k, w_v = block.attn.c_attn.weight.detach().t().chunk(3)
    b_q, b_k, b_v = block.attn.c_attn.bias.detach().chunk(3)
    scale = (config.hidden_size // config.num_attention_heads) ** -0.5 if config.scale_attn_weights else 1.0
    if config.scale_attn_by_inverse_layer_idx:
        scale /= index + 1
    return Layer(
        attention_norm=layer_norm(block.ln_1),
        attention=Attention(
            w_q=w_q,
            w_k=w_k,
            w_v=w_v,
            w_o=block.attn.c_proj.weight.detach().t(),
            b_q=b_q,
            b_k=b_k,
            b_v=b_v,
            b_o=block.attn.c_proj.bias.detach(),
            scale=scale,
        ),
        mlp_norm=layer_norm(block.ln_2),
        mlp=Mlp(
            activation=activation(config.activation_function),
            w_up=block.mlp.c_fc.weight.detach().t(),
            b_up=block.mlp.c_fc.bias.detach(),
            w_down=block.mlp.c_proj.weight.detach().t(),
            b_down=block.mlp.c_proj.bias.detach(),
        ),
    )
