"""GGUF architectures: a header as a Hugging Face configuration, and where each parameter comes from.

To add one, write a function that reads the header and a table of names, and add a line to `ARCHITECTURES`. A
file with keys or tensors that these do not use is refused (`kcircuits.model.gguf.file`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.model.gguf.file import GgufFile
from kcircuits.model.gguf.header_values import (
    basics,
    layer_eps,
    one_for_all_layers,
    rms_eps,
    rotation,
    sizes_of,
)
from kcircuits.model.gguf.names import (
    FALCON,
    GEMMA,
    GEMMA_POST,
    GPT2,
    GPT_OSS,
    INTERLEAVED,
    NEOX,
    OLMO2,
    PHI3,
    PLAIN,
    phi2_names,
)
from kcircuits.model.gguf.sources import Names, Sizes

Config = dict[str, Any]

GEMMA_27B_LAYERS = {"gemma2": 46, "gemma3": 62}
"""Models whose queries are scaled by the width per head, not the head's width; no key tells this."""

META_LAYOUT = "Meta AI original pth"
"""Name that LLaMA converters use for the row order that `interleaved_queries` undoes."""

# Base of the rotation if a converter writes none, because these families have no other.
USUAL_BASE = 10000.0


@dataclass(frozen=True)
class Architecture:
    """How files of one architecture are read; `names` may depend on the file's content."""

    config: Callable[[GgufFile, Sizes], Config]
    names: Callable[[GgufFile], Names]


def architecture_of(file: GgufFile) -> Architecture:
    """The architecture of a file; raises KCircuitsError, with the list of known ones, if it is unknown."""
    if file.architecture not in ARCHITECTURES:
        raise KCircuitsError(
            f"{file.path} has the architecture {quote(file.architecture)}, which is not read from GGUF yet; "
            f"known: {', '.join(sorted(ARCHITECTURES))}. Try a Hugging Face folder of the model"
        )
    return ARCHITECTURES[file.architecture]


def config_of(file: GgufFile) -> tuple[Config, Sizes]:
    """The Hugging Face configuration that a header describes, and the sizes for the rules on rows."""
    architecture = architecture_of(file)
    sizes = sizes_of(file)
    return architecture.config(file, sizes), sizes


def _llama(file: GgufFile, sizes: Sizes) -> Config:
    """LLaMA; Mistral if the header has a window, Mixtral if it has experts."""
    # Converters of 2023 omitted the usual base, and the size of the vocabulary.
    is_old = file.take_own("vocab_size", None) is None
    config = basics(file, sizes) | {
        "head_dim": sizes.head_dim,
        "rms_norm_eps": rms_eps(file),
        "rope_parameters": rotation(file, sizes, USUAL_BASE if is_old else None),
        "hidden_act": "silu",
    }
    _check_scale(file, sizes)
    layout = file.take_own("tensor_data_layout", META_LAYOUT)
    if layout != META_LAYOUT:
        raise KCircuitsError(f"{file.path} has the tensor layout {quote(layout)}; known: {META_LAYOUT}")
    window = file.take_own("attention.sliding_window", 0) or None
    if sizes.experts:
        return (
            config
            | _experts(file)
            | {"model_type": "mixtral", "num_local_experts": sizes.experts, "sliding_window": window}
        )
    if window is not None:
        return config | {"model_type": "mistral", "sliding_window": window}
    return config | {
        "model_type": "llama",
        "attention_bias": _has_bias(file, "attn_q"),
        "mlp_bias": _has_bias(file, "ffn_up"),
    }


def _qwen2(file: GgufFile, sizes: Sizes) -> Config:
    if sizes.head_dim * sizes.heads != file.take_own("embedding_length"):
        raise KCircuitsError(
            f"{file.path} has heads of width {sizes.head_dim}, which Qwen 2 does not have at this model width"
        )
    return basics(file, sizes) | {
        "model_type": "qwen2",
        "rms_norm_eps": rms_eps(file),
        "rope_parameters": rotation(file, sizes),
    }


def _qwen3(file: GgufFile, sizes: Sizes) -> Config:
    return _qwen2_like(file, sizes) | {"model_type": "qwen3"}


def _qwen3_moe(file: GgufFile, sizes: Sizes) -> Config:
    return (
        _qwen2_like(file, sizes)
        | _experts(file)
        | {
            "model_type": "qwen3_moe",
            "num_experts": sizes.experts,
            "moe_intermediate_size": file.take_own("expert_feed_forward_length"),
            "norm_topk_prob": True,  # llama.cpp always divides the weights of the chosen experts by their sum
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }
    )


def _qwen2_like(file: GgufFile, sizes: Sizes) -> Config:
    return basics(file, sizes) | {
        "head_dim": sizes.head_dim,
        "rms_norm_eps": rms_eps(file),
        "rope_parameters": rotation(file, sizes),
        "attention_bias": _has_bias(file, "attn_q"),
    }


def _gemma(file: GgufFile, sizes: Sizes) -> Config:
    return basics(file, sizes) | {
        "model_type": "gemma",
        "head_dim": sizes.head_dim,
        "rms_norm_eps": rms_eps(file),
        "rope_parameters": rotation(file, sizes, USUAL_BASE),
        "hidden_act": "gelu_pytorch_tanh",
        "attention_bias": False,
    }


def _gemma2(file: GgufFile, sizes: Sizes) -> Config:
    layers = file.take_own("block_count")
    return basics(file, sizes) | {
        "model_type": "gemma2",
        "head_dim": sizes.head_dim,
        "rms_norm_eps": rms_eps(file),
        "rope_parameters": rotation(file, sizes, USUAL_BASE),
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "query_pre_attn_scalar": _query_scalar(file, sizes),
        "attn_logit_softcapping": file.take_own("attn_logit_softcapping"),
        "final_logit_softcapping": file.take_own("final_logit_softcapping"),
        "sliding_window": file.take_own("attention.sliding_window"),
        "layer_types": _layer_types(file, layers, period=2),
    }


def _gemma3(file: GgufFile, sizes: Sizes) -> Config:
    layers = file.take_own("block_count")
    window = file.take_own("attention.sliding_window")
    # Ollama uses other names for the two bases.
    local_base = file.take_own("rope.freq_base_swa", file.take_own("rope.local.freq_base", USUAL_BASE))
    local = {"rope_type": "default", "rope_theta": float(local_base)}
    global_base = file.take_own("rope.global.freq_base", None)
    return basics(file, sizes) | {
        "model_type": "gemma3_text",
        "head_dim": sizes.head_dim,
        "rms_norm_eps": rms_eps(file),
        "rope_parameters": {
            "full_attention": rotation(file, sizes, global_base),
            "sliding_attention": local,
        },
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "query_pre_attn_scalar": _query_scalar(file, sizes),
        "attn_logit_softcapping": None,
        "final_logit_softcapping": file.take_own("final_logit_softcapping", 0.0) or None,
        "sliding_window": window or None,
        "layer_types": _layer_types(file, layers, period=6) if window else ["full_attention"] * layers,
    }


def _query_scalar(file: GgufFile, sizes: Sizes) -> int:
    """Queries are divided by its root: the head's width, or in 27B models the width per head."""
    if file.take_own("block_count") == GEMMA_27B_LAYERS[file.architecture]:
        return int(file.take_own("embedding_length")) // sizes.heads
    scale = file.take_own("attention.scale", None)
    if scale is None:
        return sizes.head_dim
    scalar = round(scale**-2) if scale > 0 else 0
    if not scalar or abs(scalar**-0.5 / scale - 1) > 1e-6:
        raise KCircuitsError(f"{file.path} scales queries by {quote(scale)}, not the root of a whole number")
    return scalar


def _layer_types(file: GgufFile, layers: int, period: int) -> list[str]:
    """Types of layers: every `period`-th one has no window, unless the header says otherwise."""
    pattern = file.take_own("attention.sliding_window_pattern", period)
    if isinstance(pattern, list):
        if len(pattern) < layers:
            raise KCircuitsError(
                f"{file.path} has the window pattern of {len(pattern)} layers, but the model has {layers}"
            )
        return ["sliding_attention" if windowed else "full_attention" for windowed in pattern[:layers]]
    if type(pattern) is not int or pattern < 0:
        raise KCircuitsError(f"{file.path} has an unsupported window pattern of {quote(pattern)} layers")
    # 0: every layer has one.
    windowed_layers = [not pattern or (layer + 1) % pattern != 0 for layer in range(layers)]
    return ["sliding_attention" if windowed else "full_attention" for windowed in windowed_layers]


def _olmo2(file: GgufFile, sizes: Sizes) -> Config:
    if file.take_own("attention.sliding_window", 0):
        raise KCircuitsError(
            f"{file.path} is an OLMo 3 model (OLMo 2 with windows), which is not read from GGUF yet"
        )
    return basics(file, sizes) | {
        "model_type": "olmo2",
        "rms_norm_eps": rms_eps(file),
        "rope_parameters": rotation(file, sizes),
        "attention_bias": _has_bias(file, "attn_q"),
    }


def _stablelm(file: GgufFile, sizes: Sizes) -> Config:
    # Converters write `true` if the configuration has no value; the norm of the MLP decides.
    file.take_own("use_parallel_residual", None)
    return basics(file, sizes) | {
        "model_type": "stablelm",
        "layer_norm_eps": layer_eps(file),
        "rope_parameters": rotation(file, sizes, USUAL_BASE, partial=True),
        "hidden_act": "silu",
        "use_qkv_bias": _has_bias(file, "attn_q"),
        "use_parallel_residual": not file.has("blk.0.ffn_norm.weight"),
        "qk_layernorm": file.has("blk.0.attn_q_norm.weight"),
    }


def _phi2(file: GgufFile, sizes: Sizes) -> Config:
    return basics(file, sizes) | {
        "model_type": "phi",
        "layer_norm_eps": layer_eps(file),
        "rope_parameters": rotation(file, sizes, USUAL_BASE, partial=True),
        "hidden_act": "gelu_new",
        "qk_layernorm": False,
    }


def _phi3(file: GgufFile, sizes: Sizes) -> Config:
    config = basics(file, sizes)
    rope = rotation(file, sizes, partial=True)
    return config | {
        "model_type": "phi3",
        "rms_norm_eps": rms_eps(file),
        "rope_parameters": rope,
        "original_max_position_embeddings": file.take_own(
            "rope.scaling.original_context_length", config["max_position_embeddings"]
        ),
        "partial_rotary_factor": rope["partial_rotary_factor"],
        "sliding_window": _phi3_window(file),
        "hidden_act": "silu",
    }


def _phi3_window(file: GgufFile) -> int | None:
    window = file.take_own("attention.sliding_window", None)
    if window is None:
        raise KCircuitsError(
            f"{file.path} has no window size for Phi-3's layers, like the first files of April 2024; "
            "use a newer file, or a Hugging Face folder of the model"
        )
    return window or None


def _gpt2(file: GgufFile, sizes: Sizes) -> Config:
    config = basics(file, sizes)
    positions = len(file.tensor("position_embd.weight").data)
    if config["max_position_embeddings"] != positions:
        raise KCircuitsError(
            f"{file.path} has {positions} position embeddings, but its header says "
            f"{quote(config['max_position_embeddings'])}"
        )
    return {
        "model_type": "gpt2",
        "n_layer": config["num_hidden_layers"],
        "n_head": sizes.heads,
        "n_embd": config["hidden_size"],
        "n_inner": config["intermediate_size"],
        "n_positions": positions,
        "vocab_size": config["vocab_size"],
        "layer_norm_epsilon": layer_eps(file),
        "activation_function": "gelu_new",
        "tie_word_embeddings": config["tie_word_embeddings"],
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _gpt_neox(file: GgufFile, sizes: Sizes) -> Config:
    config = basics(file, sizes)
    rope = rotation(file, sizes, USUAL_BASE, partial=True)
    del config["num_key_value_heads"]
    return config | {
        "model_type": "gpt_neox",
        "layer_norm_eps": layer_eps(file),
        "rope_parameters": rope,
        "hidden_act": "gelu",
        "attention_bias": _has_bias(file, "attn_qkv"),
        "use_parallel_residual": file.take_own("use_parallel_residual"),
    }


def _falcon(file: GgufFile, sizes: Sizes) -> Config:
    layout = file.take("falcon.tensor_data_layout")
    if layout != "jploski":
        raise KCircuitsError(f"{file.path} has the tensor layout {quote(layout)}; known: jploski")
    config = basics(file, sizes)
    two_norms = file.has("blk.0.attn_norm_2.weight")
    new = two_norms or sizes.kv_heads > 1
    del config["num_key_value_heads"], config["intermediate_size"]
    return config | {
        "model_type": "falcon",
        "layer_norm_epsilon": layer_eps(file),
        "rope_parameters": rotation(file, sizes, USUAL_BASE),
        "ffn_hidden_size": one_for_all_layers(file, "feed_forward_length"),
        "activation": "gelu",
        "alibi": False,
        "bias": _has_bias(file, "attn_qkv"),
        "multi_query": True,
        "parallel_attn": True,
        "new_decoder_architecture": new,
        "num_kv_heads": sizes.kv_heads,
        "num_ln_in_parallel_attn": (2 if two_norms else 1) if new else None,
    }


def _gpt_oss(file: GgufFile, sizes: Sizes) -> Config:
    layers = file.take_own("block_count")
    rope = rotation(file, sizes)
    if rope["rope_type"] == "yarn":
        rope["truncate"] = False  # as in the family's own configurations; llama.cpp rounds its bounds
    one_for_all_layers(file, "feed_forward_length", None)
    config = basics(file, sizes)
    return (
        config
        | _experts(file)
        | {
            "model_type": "gpt_oss",
            "head_dim": sizes.head_dim,
            "rms_norm_eps": rms_eps(file),
            "rope_parameters": rope,
            "attention_bias": _has_bias(file, "attn_q"),
            "num_local_experts": sizes.experts,
            "intermediate_size": file.take_own("expert_feed_forward_length"),
            "sliding_window": file.take_own("attention.sliding_window"),
            "layer_types": _layer_types(file, layers, period=2),
        }
    )


def _experts(file: GgufFile) -> Config:
    gating = file.take_own("expert_gating_func", 1)
    if gating != 1:
        raise KCircuitsError(
            f"{file.path} selects experts by the function {quote(gating)}; known: 1 (softmax)"
        )
    scale = file.take_own("expert_weights_scale", 1.0)
    if scale not in (0.0, 1.0):
        raise KCircuitsError(
            f"{file.path} scales the weights of experts by {quote(scale)}, which is not supported"
        )
    if not file.take_own("expert_weights_norm", True):
        raise KCircuitsError(f"{file.path} does not normalise the weights of experts, which is not supported")
    return {"num_experts_per_tok": file.take_own("expert_used_count")}


def _check_scale(file: GgufFile, sizes: Sizes) -> None:
    scale = file.take_own("attention.scale", 0.0)
    if scale and abs(scale * sizes.head_dim**0.5 - 1) > 1e-6:
        raise KCircuitsError(
            f"{file.path} scales attention by {quote(scale)}, which is not supported for 'llama'"
        )


def _has_bias(file: GgufFile, stem: str) -> bool:
    return file.has(f"blk.0.{stem}.bias")


ARCHITECTURES: dict[str, Architecture] = {
    "falcon": Architecture(_falcon, lambda _: FALCON),
    "gemma": Architecture(_gemma, lambda _: GEMMA),
    "gemma2": Architecture(_gemma2, lambda _: GEMMA_POST),
    "gemma3": Architecture(_gemma3, lambda _: GEMMA_POST),
    "gpt-oss": Architecture(_gpt_oss, lambda _: GPT_OSS),
    "gpt2": Architecture(_gpt2, lambda _: GPT2),
    "gptneox": Architecture(_gpt_neox, lambda _: NEOX),
    "llama": Architecture(_llama, lambda _: INTERLEAVED),
    "olmo2": Architecture(_olmo2, lambda _: OLMO2),
    "phi2": Architecture(_phi2, phi2_names),
    "phi3": Architecture(_phi3, lambda _: PHI3),
    "qwen2": Architecture(_qwen2, lambda _: PLAIN),
    "qwen3": Architecture(_qwen3, lambda _: PLAIN),
    "qwen3moe": Architecture(_qwen3_moe, lambda _: PLAIN),
    "stablelm": Architecture(_stablelm, lambda _: PLAIN),
}
"""`general.architecture` of a header -> how such a file is read."""
