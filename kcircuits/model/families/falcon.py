"""Falcon: 7B's and 40B's architecture, parallel or sequential."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.families.common import bias, layer_norm, plain_mlp, rotary, weight
from kcircuits.model.spec import Attention, Layer, ModelSpec, Norm, Rotary


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `FalconForCausalLM`; raises KCircuitsError for ALiBi, which has no rotary embedding.

    Its one matrix holds, group after group, the queries of a group, its key and its value; they are taken
    apart.
    """
    config, body = hf_model.config, hf_model.transformer
    if config.alibi:
        raise KCircuitsError("ALiBi is not supported: the configuration has alibi=true")
    angles = rotary(body.rotary_emb)
    return ModelSpec(
        family=config.model_type,
        num_heads=config.num_attention_heads,
        num_kv_heads=_num_kv_heads(config),
        head_dim=config.hidden_size // config.num_attention_heads,
        embedding=weight(body.word_embeddings),
        layers=tuple(_layer(block, angles, config) for block in body.h),
        final_norm=layer_norm(body.ln_f),
        unembedding=weight(hf_model.lm_head),
        max_positions=config.max_position_embeddings,
        parallel=config.new_decoder_architecture or config.parallel_attn,
    )


def _num_kv_heads(config: Any) -> int:
    if config.new_decoder_architecture:
        return int(config.num_kv_heads)
    return 1 if config.multi_query else int(config.num_attention_heads)


def _layer(block: Any, angles: Rotary, config: Any) -> Layer:
    attention_norm, mlp_norm = _norms(block, config)
    fused, out = block.self_attention.query_key_value, block.self_attention.dense
    w_q, w_k, w_v = _taken_apart(weight(fused), config)
    biases = bias(fused)
    b_q, b_k, b_v = (None,) * 3 if biases is None else _taken_apart(biases, config)
    head_dim = config.hidden_size // config.num_attention_heads
    return Layer(
        attention_norm=attention_norm,
        attention=Attention(
            w_q=w_q,
            w_k=w_k,
            w_v=w_v,
            w_o=weight(out),
            b_q=b_q,
            b_k=b_k,
            b_v=b_v,
            b_o=bias(out),
            scale=head_dim**-0.5,
            rotary=angles,
        ),
        mlp_norm=mlp_norm,
        mlp=plain_mlp(block.mlp.dense_h_to_4h, block.mlp.dense_4h_to_h, config.activation),
    )


def _norms(block: Any, config: Any) -> tuple[Norm, Norm]:
    """That of the attention and that of the MLP."""
    if config.new_decoder_architecture and hasattr(block, "ln_attn"):
        return layer_norm(block.ln_attn), layer_norm(block.ln_mlp)
    norm = layer_norm(block.input_layernorm)
    if config.new_decoder_architecture or config.parallel_attn:
        return norm, norm
    return norm, layer_norm(block.post_attention_layernorm)


def _taken_apart(fused: Tensor, config: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [H * d, ...], keys and values [K * d, ...] of a weight or a bias."""
    groups = _num_kv_heads(config)
    heads = config.num_attention_heads // groups
    head_dim = config.hidden_size // config.num_attention_heads
    grouped = fused.unflatten(0, (groups, heads + 2, head_dim))
    return grouped[:, :heads].flatten(0, 2), grouped[:, -2].flatten(0, 1), grouped[:, -1].flatten(0, 1)
