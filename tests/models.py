"""Tiny random Hugging Face models, one for every variant that a family's file has to read correctly.

All weights, biases and norms are random and far from their initial values, so that a forgotten one shows.
Models and specs are cached and shared: tests read them and never write to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    StableLmConfig,
)

from kcircuits.model.families import spec_of
from kcircuits.model.quantised import QuantisedWeight, dense
from kcircuits.model.reweighting import quantise_model
from kcircuits.model.spec import ModelSpec, Rotary

VOCABULARY = 61
SPECIAL_TOKENS = {"bos_token_id": 0, "eos_token_id": 0}


def gpt2(**changes: Any) -> GPT2LMHeadModel:
    """A GPT-2 with 3 layers, 4 heads and width 32."""
    sizes: dict[str, Any] = {
        "n_layer": 3,
        "n_head": 4,
        "n_embd": 32,
        "n_positions": 32,
        "vocab_size": VOCABULARY,
    }
    return GPT2LMHeadModel(GPT2Config(**sizes | SPECIAL_TOKENS | changes))


def llama_sizes(**changes: Any) -> dict[str, Any]:
    """Configuration of a LLaMA with 3 layers, 4 heads and width 32."""
    sizes: dict[str, Any] = {
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "hidden_size": 32,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
    }
    return sizes | SPECIAL_TOKENS | changes


def llama(**changes: Any) -> LlamaForCausalLM:
    """A LLaMA of `llama_sizes`."""
    return LlamaForCausalLM(LlamaConfig(**llama_sizes(**changes)))


def mistral(**changes: Any) -> MistralForCausalLM:
    """A Mistral of `llama_sizes` with two key/value heads, without a sliding window."""
    return MistralForCausalLM(
        MistralConfig(**llama_sizes(**{"num_key_value_heads": 2, "sliding_window": None} | changes))
    )


def like_llama(config: type[PretrainedConfig], **changes: Any) -> PreTrainedModel:
    """A model of another family with `llama_sizes`, two key/value heads and heads of 8."""
    sizes = llama_sizes(**{"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": None} | changes)
    return AutoModelForCausalLM.from_config(config(**sizes), attn_implementation="eager")


def of_family(config: type[PretrainedConfig], **sizes: Any) -> PreTrainedModel:
    """A model of another family."""
    return AutoModelForCausalLM.from_config(config(**SPECIAL_TOKENS | sizes), attn_implementation="eager")


def gpt_neox(**changes: Any) -> PreTrainedModel:
    sizes = llama_sizes() | {"rotary_pct": 0.5} | changes
    del sizes["num_key_value_heads"]
    return of_family(GPTNeoXConfig, **sizes)


def falcon(**changes: Any) -> PreTrainedModel:
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "vocab_size": VOCABULARY}
    return of_family(FalconConfig, **sizes | {"max_position_embeddings": 64} | changes)


GPTJ = {
    "n_layer": 3, "n_head": 4, "n_embd": 32, "n_positions": 64, "vocab_size": VOCABULARY, "rotary_dim": 4
}  # fmt: skip
OPT = {
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "ffn_dim": 48,
    "max_position_embeddings": 64,
    "vocab_size": VOCABULARY,
}
ALTERNATING = ["sliding_attention", "full_attention", "sliding_attention"]
EXPERTS = {"num_experts_per_tok": 2}
GPT_OSS_ROPE = {"rope_type": "default", "rope_theta": 10000.0}


ROPE_LINEAR = {"rope_type": "linear", "factor": 2.0}
ROPE_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
ROPE_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}

BUILDERS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": gpt2,
    "gpt2_inverse_layer": partial(gpt2, scale_attn_by_inverse_layer_idx=True),
    "gpt2_unscaled": partial(gpt2, scale_attn_weights=False),
    "gpt2_untied": partial(gpt2, tie_word_embeddings=False, n_inner=40, activation_function="gelu"),
    "llama": llama,
    "llama_gqa": partial(llama, num_key_value_heads=2),
    "llama_mqa": partial(llama, num_key_value_heads=1),
    "llama_biases": partial(llama, num_key_value_heads=2, attention_bias=True, mlp_bias=True),
    "llama_tied": partial(llama, tie_word_embeddings=True),
    "llama_wide_heads": partial(llama, head_dim=12),
    "llama_rope_linear": partial(llama, rope_scaling=ROPE_LINEAR),
    "llama_rope_llama3": partial(llama, rope_scaling=ROPE_LLAMA3),
    "llama_rope_yarn": partial(llama, rope_scaling=ROPE_YARN),
    "mistral": mistral,
    "mistral_window": partial(mistral, sliding_window=3),
    "gptj": partial(of_family, GPTJConfig, **GPTJ),
    "gptj_all_rotated": partial(of_family, GPTJConfig, **GPTJ | {"rotary_dim": 8}),
    "gpt_neox": gpt_neox,
    "gpt_neox_sequential": partial(gpt_neox, use_parallel_residual=False, attention_bias=False),
    "opt": partial(of_family, OPTConfig, **OPT),
    "phi": partial(of_family, PhiConfig, **llama_sizes(num_key_value_heads=2)),
    "phi3": partial(like_llama, Phi3Config, sliding_window=4),
    "qwen2": partial(like_llama, Qwen2Config),
    "qwen2_window": partial(
        like_llama, Qwen2Config, use_sliding_window=True, sliding_window=3, layer_types=ALTERNATING
    ),
    "qwen3": partial(like_llama, Qwen3Config),
    "gemma": partial(like_llama, GemmaConfig, tie_word_embeddings=True),
    "gemma2": partial(
        like_llama,
        Gemma2Config,
        sliding_window=3,
        layer_types=ALTERNATING,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
        query_pre_attn_scalar=16,
        tie_word_embeddings=True,
    ),
    "gemma3": partial(
        like_llama,
        Gemma3TextConfig,
        sliding_window=3,
        layer_types=ALTERNATING,
        query_pre_attn_scalar=16,
        tie_word_embeddings=True,
    ),
    "olmo2": partial(like_llama, Olmo2Config),
    "falcon": falcon,
    "falcon_biases": partial(falcon, bias=True, multi_query=False, parallel_attn=False),
    "falcon_new": partial(falcon, new_decoder_architecture=True, num_kv_heads=2),
    "falcon_one_norm": partial(
        falcon, new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1
    ),
    "stablelm": partial(like_llama, StableLmConfig, use_qkv_bias=True, partial_rotary_factor=0.5),
    "stablelm_parallel": partial(like_llama, StableLmConfig, use_parallel_residual=True),
    "mixtral": partial(like_llama, MixtralConfig, num_local_experts=4, **EXPERTS),
    "qwen3_moe": partial(like_llama, Qwen3MoeConfig, num_experts=4, moe_intermediate_size=24, **EXPERTS),
    "qwen3_moe_unnormalised": partial(
        like_llama,
        Qwen3MoeConfig,
        num_experts=4,
        moe_intermediate_size=24,
        norm_topk_prob=False,
        **EXPERTS,
    ),
    "gpt_oss": partial(
        like_llama,
        GptOssConfig,
        num_local_experts=4,
        sliding_window=3,
        layer_types=ALTERNATING,
        rope_parameters=GPT_OSS_ROPE,
        **EXPERTS,
    ),
}
"""Name -> builder of a model with PyTorch's global random state."""


def build(builder: Callable[[], PreTrainedModel], seed: int = 0) -> PreTrainedModel:
    """A model with every parameter drawn anew; leaves the global random state alone."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = builder()
        for name, parameter in model.named_parameters():
            is_norm = "norm" in name or "ln_" in name
            parameter.copy_(
                (1.0 if is_norm and name.endswith("weight") else 0.0) + 0.3 * torch.randn(parameter.shape)
            )
    return model.eval()


@cache
def tiny_model(name: str) -> PreTrainedModel:
    """The Hugging Face model of a name in `BUILDERS`, float32, always with the same weights."""
    return build(BUILDERS[name])


@cache
def tiny_spec(name: str) -> ModelSpec:
    """The description of `tiny_model(name)`."""
    return spec_of(tiny_model(name))


def with_tensors(spec: ModelSpec, change: Callable[[Any], Any]) -> ModelSpec:
    """A description with `change` of every tensor and matrix; the angles of the rotary embedding stay."""

    def convert(value: Any) -> Any:
        if isinstance(value, Tensor | QuantisedWeight):
            return change(value)
        if isinstance(value, tuple):
            return tuple(map(convert, value))
        if is_dataclass(value) and not isinstance(value, Rotary | type):
            return replace(
                value, **{field.name: convert(getattr(value, field.name)) for field in fields(value)}
            )
        return value

    converted: ModelSpec = convert(spec)
    return converted


def as_dtype(spec: ModelSpec, dtype: torch.dtype) -> ModelSpec:
    """A description with every weight in another dtype."""
    return with_tensors(spec, lambda weight: weight.to(dtype))


def quantised_spec(name: str, bits: int) -> ModelSpec:
    """`tiny_spec(name)` with every matrix in 8 or 4 bits."""
    return quantise_model(tiny_spec(name), bits, torch.device("cpu"))


def dequantised(spec: ModelSpec) -> ModelSpec:
    """The same model with tensors for matrices."""
    return with_tensors(spec, dense)


def save(model: PreTrainedModel, folder: Path, *, shard_size: str = "1GB") -> Path:
    """Write a model as a Hugging Face folder of safetensors; returns the folder."""
    model.save_pretrained(folder, max_shard_size=shard_size)
    return folder


def random_prompts(
    lengths: Sequence[int],
    *,
    padding: Literal["left", "right"] = "left",
    seed: int = 0,
    vocabulary: int = VOCABULARY,
) -> tuple[Tensor, Tensor]:
    """Random prompts of these lengths: tokens int64 [N, T] and mask bool [N, T], True at real tokens.

    The tokens at padded places are random too, as nothing may depend on them.
    """
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    tokens = torch.randint(vocabulary, (len(lengths), longest), generator=generator)
    places = torch.arange(longest)
    sizes = torch.tensor(lengths)[:, None]
    return tokens, places >= longest - sizes if padding == "left" else places < sizes
