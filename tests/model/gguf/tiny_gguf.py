"""Write a tiny LLaMA, with a byte-level tokenizer, as a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaForCausalLM

MERGES = ["t h", "th e"]
TOKENS = ["<s>", "</s>", *sorted(ByteLevel.alphabet()), "th", "the"]

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""A weight's name in a layer, Hugging Face -> GGUF."""


def write_gguf(
    model: LlamaForCausalLM, file: Path, *, architecture: str = "llama", quantise: bool = False
) -> Path:
    """Write the model, which must have `len(TOKENS)` tokens, in float32, or most matrices as Q8_0."""
    config: Any = model.config
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(TOKENS) - 2))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for name, parameter in model.named_parameters():
        _add(writer, _gguf_name(name), _gguf_layout(name, parameter.detach().numpy(), model), quantise)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _gguf_name(name: str) -> str:
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name]
    _, _, layer, *inner = name.removesuffix(".weight").split(".")
    return f"blk.{layer}.{NAMES['.'.join(inner)]}.weight"


def _gguf_layout(name: str, weight: np.ndarray, model: LlamaForCausalLM) -> np.ndarray:
    """GGUF puts the two elements of a rotary pair side by side, Hugging Face half a head apart."""
    config: Any = model.config
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, count in heads.items():
        if part in name:
            return weight.reshape(count, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape).copy()
    return weight


def _add(writer: gguf.GGUFWriter, name: str, weight: np.ndarray, quantise: bool) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    if quantise and weight.ndim == 2 and weight.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] == 0:
        writer.add_tensor(name, gguf.quantize(weight, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, weight)
