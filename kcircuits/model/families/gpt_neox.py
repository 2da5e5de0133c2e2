"""GPT-NeoX and Pythia."""

from __future__ import annotations

from typing import Any

from kcircuits.model.families.common import bias, layer_norm, plain_mlp, rotary, weight
from kcircuits.model.spec import Attention, Layer, ModelSpec, Rotary


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `GPTNeoXForCausalLM`, parallel or sequential.

    Its one matrix holds query, key and value of head 0, then those of head 1, and so on; they are taken
    apart.
    """
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
        max_positions=config.max_position_embeddings,
        parallel=config.use_parallel_residual,
    )


def _layer(block: Any, angles: Rotary, config: Any) -> Layer:
    fused, out = block.attention.query_key_value, block.attention.dense
    sizes = (config.num_attention_heads, 3, -1)
    w_q, w_k, w_v = (w.flatten(0, 1) for w in weight(fused).unflatten(0, sizes).unbind(1))
    biases = bias(fused)
    b_q, b_k, b_v = (
        (None,) * 3 if biases is None else (b.flatten() for b in biases.unflatten(0, sizes).unbind(1))
    )
    return Layer(
        attention_norm=layer_norm(block.input_layernorm),
        attention=Attention(
            w_q=w_q,
            w_k=w_k,
            w_v=w_v,
            w_o=weight(out),
            b_q=b_q,
            b_k=b_k,
            b_v=b_v,
            b_o=bias(out),
            scale=float(block.attention.scaling),
            rotary=angles,
        ),
        mlp_norm=layer_norm(block.post_attention_layernorm),
        mlp=plain_mlp(block.mlp.dense_h_to_4h, block.mlp.dense_4h_to_h, config.hidden_act),
    )
