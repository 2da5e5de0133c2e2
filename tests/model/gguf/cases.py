"""Models that can be written as GGUF, one for each variation that a file can express."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GptOssConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    StableLmConfig,
)

from tests.models import (
    ALTERNATING,
    BUILDERS,
    EXPERTS,
    ROPE_LINEAR,
    ROPE_YARN,
    falcon,
    gpt2,
    gpt_neox,
    like_llama,
    llama,
    mistral,
)

EXACT, GELU = 1e-4, 3e-2
"""How far llama.cpp may be: it looks its GELU up in a table of 16 bits, and always takes the tanh."""


@dataclass(frozen=True)
class Case:
    """A model, and how far we and llama.cpp may be from it in log-probability.

    Text in place of a number says why llama.cpp computes something else.
    """

    build: Callable[[], PreTrainedModel]
    llama_cpp: float | str = EXACT
    ours: float = EXACT


def gemma2(**changes: Any) -> PreTrainedModel:
    sizes = {
        "sliding_window": 3,
        "layer_types": ALTERNATING,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "query_pre_attn_scalar": 8,
        "tie_word_embeddings": True,
    }
    return like_llama(Gemma2Config, **sizes | changes)


def gemma3(**changes: Any) -> PreTrainedModel:
    windows = ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    sizes = {
        "num_hidden_layers": 7,
        "sliding_window": 3,
        "layer_types": windows,
        "query_pre_attn_scalar": 8,
        "tie_word_embeddings": True,
    }
    return like_llama(Gemma3TextConfig, **sizes | changes)


def gemma3_rope(rope: dict[str, Any]) -> PreTrainedModel:
    return gemma3(
        rope_parameters={
            "full_attention": {"rope_theta": 1e6} | rope,
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        }
    )


def phi3(**changes: Any) -> PreTrainedModel:
    sizes = {"sliding_window": None, "original_max_position_embeddings": 64, "pad_token_id": None}
    return like_llama(Phi3Config, **sizes | changes)


def gpt_oss_rope(rope: dict[str, Any]) -> PreTrainedModel:
    return like_llama(
        GptOssConfig,
        num_local_experts=4,
        sliding_window=3,
        layer_types=ALTERNATING,
        rope_parameters=rope,
        **EXPERTS,
    )


LONG_ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.5, 2.0, 3.0],
    "long_factor": [2.0, 4.0, 8.0, 16.0],
    "original_max_position_embeddings": 32,
}
WINDOW = "llama.cpp has no windows in this family"
QWEN_ROPE = {"rope_theta": 1e6}

CASES = {
    "gpt2": Case(BUILDERS["gpt2"], GELU),
    "gpt2_positions": Case(partial(gpt2, n_positions=48), GELU),
    "gpt2_wide_mlp": Case(partial(gpt2, n_inner=40), GELU),
    "gpt2_untied": Case(partial(gpt2, tie_word_embeddings=False), GELU),
    "llama": Case(llama),
    "llama_gqa": Case(BUILDERS["llama_gqa"]),
    "llama_mqa": Case(BUILDERS["llama_mqa"]),
    "llama_biases": Case(BUILDERS["llama_biases"]),
    "llama_tied": Case(BUILDERS["llama_tied"]),
    "llama_wide_heads": Case(BUILDERS["llama_wide_heads"]),
    "llama_rope_linear": Case(BUILDERS["llama_rope_linear"]),
    "llama_rope_llama3": Case(BUILDERS["llama_rope_llama3"]),
    "llama_rope_yarn": Case(BUILDERS["llama_rope_yarn"]),
    "llama_rope_yarn_betas": Case(
        partial(llama, rope_scaling=ROPE_YARN | {"beta_fast": 8.0, "beta_slow": 2.0})
    ),
    "llama_rope_yarn_scale": Case(
        partial(llama, rope_scaling=ROPE_YARN | {"attention_factor": 1.3}),
        "llama.cpp multiplies the file's factor with its own, Transformers takes it instead",
    ),
    "llama_default_base": Case(partial(llama, rope_theta=10000.0)),
    "llama_rope_base": Case(partial(llama, rope_theta=500000.0)),
    "mistral": Case(mistral),
    "mistral_window": Case(BUILDERS["mistral_window"], WINDOW),
    "gpt_neox": Case(gpt_neox, GELU),
    "gpt_neox_sequential": Case(partial(gpt_neox, use_parallel_residual=False), GELU),
    "gpt_neox_rotary_pct": Case(partial(gpt_neox, rotary_pct=0.25), GELU),
    "phi": Case(BUILDERS["phi"], GELU),
    "phi3": Case(phi3),
    "phi3_window": Case(partial(phi3, sliding_window=4), WINDOW),
    "phi3_partial": Case(partial(phi3, partial_rotary_factor=0.5)),
    "phi3_long_rope": Case(
        partial(phi3, rope_parameters=LONG_ROPE, original_max_position_embeddings=32),
        "llama.cpp picks the factors by the length of its cache",
    ),
    "qwen2": Case(BUILDERS["qwen2"]),
    "qwen2_rope_yarn": Case(partial(like_llama, Qwen2Config, rope_parameters=ROPE_YARN | QWEN_ROPE)),
    "qwen2_rope_linear": Case(partial(like_llama, Qwen2Config, rope_parameters=ROPE_LINEAR | QWEN_ROPE)),
    "qwen3": Case(BUILDERS["qwen3"]),
    "qwen3_rope_yarn": Case(partial(like_llama, Qwen3Config, rope_parameters=ROPE_YARN | QWEN_ROPE)),
    "qwen3_biases": Case(
        partial(like_llama, Qwen3Config, attention_bias=True), "llama.cpp refuses these biases"
    ),
    "qwen3_wide_heads": Case(partial(like_llama, Qwen3Config, head_dim=12)),
    "gemma": Case(BUILDERS["gemma"], GELU),
    "gemma2": Case(gemma2, GELU),
    "gemma2_27b": Case(
        partial(
            like_llama,
            Gemma2Config,
            num_hidden_layers=46,
            hidden_size=48,
            sliding_window=3,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
            query_pre_attn_scalar=12,
            tie_word_embeddings=True,
        ),
        GELU,
        ours=1e-3,  # 46 layers in float32
    ),
    "gemma3": Case(gemma3, GELU),
    "gemma3_rope_linear": Case(partial(gemma3_rope, {"rope_type": "linear", "factor": 8.0}), GELU),
    "gemma3_soft_cap": Case(
        partial(gemma3, final_logit_softcapping=3.0), "llama.cpp caps logits only without windows"
    ),
    "olmo2": Case(BUILDERS["olmo2"]),
    "olmo2_rope_yarn": Case(partial(like_llama, Olmo2Config, rope_parameters=ROPE_YARN | QWEN_ROPE)),
    "falcon": Case(falcon, GELU),
    "falcon_new": Case(BUILDERS["falcon_new"], GELU),
    "falcon_one_norm": Case(BUILDERS["falcon_one_norm"], GELU),
    "falcon_wide_mlp": Case(partial(falcon, ffn_hidden_size=40), GELU),
    "stablelm": Case(BUILDERS["stablelm"]),
    "stablelm_parallel": Case(BUILDERS["stablelm_parallel"]),
    "stablelm_all_rotated": Case(partial(like_llama, StableLmConfig, partial_rotary_factor=1.0)),
    "mixtral": Case(BUILDERS["mixtral"]),
    "qwen3_moe": Case(
        partial(
            like_llama,
            Qwen3MoeConfig,
            num_experts=4,
            moe_intermediate_size=24,
            norm_topk_prob=True,
            **EXPERTS,
        )
    ),
    "gpt_oss": Case(BUILDERS["gpt_oss"]),
    "gpt_oss_rope_yarn": Case(
        lambda: gpt_oss_rope(ROPE_YARN | {"truncate": False, "rope_theta": 10000.0}),
        "llama.cpp rounds the bounds of yarn",
    ),
}
