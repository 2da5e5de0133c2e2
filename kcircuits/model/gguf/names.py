"""Tables of names for each kind of layer: Hugging Face parameters and their tensors in GGUF files."""

from __future__ import annotations

from dataclasses import replace

from kcircuits.model.gguf.file import GgufFile
from kcircuits.model.gguf.sources import (
    Names,
    Source,
    experts_alternating,
    experts_one_above_the_other,
    group_queries,
    interleaved_keys,
    interleaved_queries,
    part_of_fused,
    source,
)

_OUTSIDE = {
    "model.embed_tokens": source("token_embd"),
    "model.norm": source("output_norm"),
    "lm_head": source("output"),
}
_ATTENTION = {
    "self_attn.q_proj": source("attn_q"),
    "self_attn.k_proj": source("attn_k"),
    "self_attn.v_proj": source("attn_v"),
    "self_attn.o_proj": Source(("attn_output",), optional_bias=True),
}
_NORMS = {"input_layernorm": source("attn_norm"), "post_attention_layernorm": source("ffn_norm")}
_HEAD_NORMS = {"self_attn.q_norm": source("attn_q_norm"), "self_attn.k_norm": source("attn_k_norm")}
_MLP = {
    "mlp.gate_proj": source("ffn_gate"),
    "mlp.up_proj": source("ffn_up"),
    "mlp.down_proj": source("ffn_down"),
}
_EXPERTS = {
    "mlp.gate": source("ffn_gate_inp"),
    "mlp.experts.gate_up_proj": source(
        "ffn_gate_exps.weight", "ffn_up_exps.weight", rule=experts_one_above_the_other
    ),
    "mlp.experts.down_proj": source("ffn_down_exps.weight"),
}
_LAYERS = "model.layers"
PLAIN = Names(_LAYERS, _OUTSIDE, _ATTENTION | _NORMS | _HEAD_NORMS | _MLP | _EXPERTS)
INTERLEAVED = replace(
    PLAIN,
    inside=dict(PLAIN.inside)
    | {
        "self_attn.q_proj": source("attn_q", rule=interleaved_queries),
        "self_attn.k_proj": source("attn_k", rule=interleaved_keys),
    },
)


def _minus_one(names: dict[str, Source]) -> dict[str, Source]:
    """Norms of Gemma: the weights in the file are larger by 1."""
    return {name: replace(found, add=-1.0) for name, found in names.items()}


_GEMMA_OUTSIDE = _OUTSIDE | _minus_one({"model.norm": source("output_norm")})
GEMMA = Names(_LAYERS, _GEMMA_OUTSIDE, _ATTENTION | _MLP | _minus_one(_NORMS))
GEMMA_POST = Names(
    _LAYERS,
    _GEMMA_OUTSIDE,
    _ATTENTION
    | _MLP
    | _minus_one(
        _HEAD_NORMS
        | {
            "input_layernorm": source("attn_norm"),
            "post_attention_layernorm": source("post_attention_norm"),
            "pre_feedforward_layernorm": source("ffn_norm"),
            "post_feedforward_layernorm": source("post_ffw_norm"),
        }
    ),
)
OLMO2 = Names(
    _LAYERS,
    _OUTSIDE,
    _ATTENTION
    | _HEAD_NORMS
    | _MLP
    | {
        "post_attention_layernorm": source("post_attention_norm"),
        "post_feedforward_layernorm": source("post_ffw_norm"),
    },
)
PHI3 = Names(
    _LAYERS,
    _OUTSIDE,
    _NORMS
    | {
        "self_attn.qkv_proj": source("attn_qkv"),
        "self_attn.o_proj": source("attn_output"),
        "mlp.gate_up_proj": source("ffn_up"),
        "mlp.down_proj": source("ffn_down"),
    },
)
_PHI2_MLP = {
    "input_layernorm": source("attn_norm"),
    "mlp.fc1": source("ffn_up"),
    "mlp.fc2": source("ffn_down"),
    "self_attn.dense": source("attn_output"),
}
_PHI2_OUTSIDE = {
    "model.embed_tokens": source("token_embd"),
    "model.final_layernorm": source("output_norm"),
    "lm_head": source("output"),
}
_FUSED_ATTENTION = {
    f"self_attn.{name}_proj": source("attn_qkv", rule=part_of_fused(index))
    for index, name in enumerate("qkv")
}
GPT2 = Names(
    "transformer.h",
    {
        "transformer.wte": source("token_embd"),
        "transformer.wpe": source("position_embd"),
        "transformer.ln_f": source("output_norm"),
        "lm_head": source("output"),
    },
    {
        "ln_1": source("attn_norm"),
        "attn.c_attn": source("attn_qkv", turned=True),
        "attn.c_proj": source("attn_output", turned=True),
        "ln_2": source("ffn_norm"),
        "mlp.c_fc": source("ffn_up", turned=True),
        "mlp.c_proj": source("ffn_down", turned=True),
    },
)
NEOX = Names(
    "gpt_neox.layers",
    {
        "gpt_neox.embed_in": source("token_embd"),
        "gpt_neox.final_layer_norm": source("output_norm"),
        "lm_head": source("output"),
    },
    {
        "input_layernorm": source("attn_norm"),
        "post_attention_layernorm": source("ffn_norm"),
        "attention.query_key_value": source("attn_qkv", rule=group_queries),
        "attention.dense": source("attn_output"),
        "mlp.dense_h_to_4h": source("ffn_up"),
        "mlp.dense_4h_to_h": source("ffn_down"),
    },
)
FALCON = Names(
    "transformer.h",
    {
        "transformer.word_embeddings": source("token_embd"),
        "transformer.ln_f": source("output_norm"),
        "lm_head": source("output"),
    },
    {
        "input_layernorm": source("attn_norm"),
        "ln_attn": source("attn_norm_2"),
        "ln_mlp": source("attn_norm"),
        "self_attention.query_key_value": source("attn_qkv", rule=group_queries),
        "self_attention.dense": source("attn_output"),
        "mlp.dense_h_to_4h": source("ffn_up"),
        "mlp.dense_4h_to_h": source("ffn_down"),
    },
)
GPT_OSS = Names(
    _LAYERS,
    _OUTSIDE,
    _ATTENTION
    | {
        "input_layernorm": source("attn_norm"),
        "post_attention_layernorm": source("post_attention_norm"),
        "self_attn.sinks": source("attn_sinks.weight"),
        "mlp.router": source("ffn_gate_inp"),
        "mlp.experts.gate_up_proj": source(
            "ffn_gate_exps.weight", "ffn_up_exps.weight", rule=experts_alternating, turned=True
        ),
        "mlp.experts.gate_up_proj_bias": source(
            "ffn_gate_exps.bias", "ffn_up_exps.bias", rule=experts_alternating
        ),
        "mlp.experts.down_proj": source("ffn_down_exps.weight", turned=True),
        "mlp.experts.down_proj_bias": source("ffn_down_exps.bias"),
    },
)


def phi2_names(file: GgufFile) -> Names:
    """Phi 1 to 2: queries, keys and values in one matrix, or in three."""
    fused = file.has("blk.0.attn_qkv.weight")
    separate = {name: found for name, found in _ATTENTION.items() if name != "self_attn.o_proj"}
    return Names(_LAYERS, _PHI2_OUTSIDE, _PHI2_MLP | (_FUSED_ATTENTION if fused else separate))
