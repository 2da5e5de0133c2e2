"""Known configuration keys: those visible in the model itself, and those that change no number.

`kcircuits.model.config_account` uses these tables; docs/adding-a-family.md explains when to extend them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isclose
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.activations import activation
from kcircuits.model.spec import Attention, Experts, Mlp, ModelSpec

EVIDENT: dict[str, str] = dict.fromkeys(
    ("hidden_size", "n_embd", "word_embed_proj_dim", "vocab_size"), "the shape of the embedding"
)
"""Keys that Transformers turns into modules, which the families read, with the place."""

EVIDENT |= dict.fromkeys(
    ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "moe_intermediate_size"),
    "the shapes of the MLP's weights",
)
EVIDENT |= dict.fromkeys(("num_hidden_layers", "n_layer"), "the number of layers built")
EVIDENT |= dict.fromkeys(("num_experts", "num_local_experts"), "the shape of the router")
EVIDENT |= dict.fromkeys(("decoder_sparse_step", "mlp_only_layers"), "which layers have experts")
EVIDENT |= dict.fromkeys(
    ("num_attention_heads", "n_head", "num_key_value_heads", "num_kv_heads", "head_dim"),
    "the shapes of the attention's weights",
)
EVIDENT |= dict.fromkeys(
    ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"), "each norm module has its own epsilon"
)
EVIDENT |= dict.fromkeys(
    ("attention_bias", "mlp_bias", "bias", "use_qkv_bias", "enable_bias"), "whether a module has a bias"
)
EVIDENT |= {
    "layer_norm_elementwise_affine": "whether a norm module has a weight",
    "_remove_final_layer_norm": "whether there is a final norm",
    "num_ln_in_parallel_attn": "the norm modules of each layer",
    "use_sliding_window": "in sliding_window and layer_types",
    "max_window_layers": "in layer_types",
    "query_pre_attn_scalar": "each attention module has its scale",
    "tie_word_embeddings": "the unembedding's weight is the embedding's, or its own",
    "rope_parameters": "the angles of the rotary module",
    "original_max_position_embeddings": "in rope_parameters, and with it in the angles",
}

_GENERATION = "for text generation only"
_TOKENS = "an id for the tokenizer or for generation"
_TRAINING = "for training only"
_KEEPING = "how Transformers computes, stores or returns the same numbers"
_NOTE = "a note about the checkpoint"
_HEADS = "for output heads of other tasks"

HARMLESS: dict[str, str] = {
    "*dropout*": _TRAINING,
    "*pdrop": _TRAINING,
    "layerdrop": _TRAINING,
    "initializer_range": _TRAINING,
    "initializer_factor": _TRAINING,
    "init_std": _TRAINING,
    "gradient_checkpointing": _TRAINING,
    "router_aux_loss_coef": _TRAINING,
    "router_jitter_noise": _TRAINING,
    "neftune_noise_alpha": _TRAINING,
    "*_loss_coef": _TRAINING,
    "ignore_index": _TRAINING,
    "tf_legacy_loss": _TRAINING,
    "loss_type": _TRAINING,
    "seq_length": _TRAINING,
    "max_seq_len*": _TRAINING,
    "pretraining_tp": "how LLaMA's products were split in training; Transformers no longer splits them",
    "use_cache": _KEEPING,
    "cache_implementation": _KEEPING,
    "output_attentions": _KEEPING,
    "output_hidden_states": _KEEPING,
    "output_router_logits": _KEEPING,
    "output_projection": "every family here has an unembedding",
    "return_dict*": _KEEPING,
    "use_return_dict": _KEEPING,
    "dtype": "load_model says in which type the model computes",
    "torch_dtype": "load_model says in which type the model computes",
    "use_bfloat16": _KEEPING,
    "torchscript": _KEEPING,
    "*attn_implementation*": _KEEPING,
    "*experts_implementation*": _KEEPING,
    "use_flash_attn*": _KEEPING,
    "use_flash_attention*": _KEEPING,
    "_flash_attn_2_enabled": _KEEPING,
    "reorder_and_upcast_attn": "the same product in another order",
    "chunk_size_feed_forward": "no decoder here splits its MLP",
    "is_decoder": "every family here is a decoder, whatever the value",
    "keys_to_ignore_at_inference": _KEEPING,
    "ignore_keys_at_rope_validation": _KEEPING,
    "_post_init_done": _KEEPING,
    "*_token_id": _TOKENS,
    "*_token_ids": _TOKENS,
    "*_token_index": _TOKENS,
    "bos_token": _TOKENS,
    "eos_token": _TOKENS,
    "pad_token": _TOKENS,
    "tokenizer_*": _TOKENS,
    "model_max_length": _TOKENS,
    "max_sequence_length": _TOKENS,
    "chat_template": _TOKENS,
    "prefix": _GENERATION,
    "task_specific_params": _GENERATION,
    "predict_special_tokens": _GENERATION,
    "n_special": _GENERATION,
    "custom_pipelines": _GENERATION,
    "problem_type": _HEADS,
    "id2label": _HEADS,
    "label2id": _HEADS,
    "num_labels": _HEADS,
    "_num_labels": _HEADS,
    "finetuning_task": _HEADS,
    "summary_*": _HEADS,
    "architectures": "the model for the next token is built whatever class was saved; its weights must fit",
    "model_type": "names the family",
    "transformers_version": _NOTE,
    "transformers.js_config": _NOTE,
    "name_or_path": _NOTE,
    "_name_or_path": _NOTE,
    "_model_name_or_path": _NOTE,
    "_commit_hash": _NOTE,
    "auto_map": "names code in the model folder, which is not run",
    "is_llama_config": _NOTE,
    "unsloth_*": _NOTE,
    "n_ctx": "an old name of n_positions; Transformers reads only the new one",
    "initial_context_length": "an old name of what is in rope_parameters",
    "ff_factor": "an old name of ffn_hidden_size, to which the weights must fit",
    "dual_chunk_attention_config": "how other programs extend prompts beyond the trained length",
    "_sliding_window_pattern": "in layer_types",
}
"""Keys, or `fnmatch` patterns of keys, that change no number, with the reason."""

ROPE_KEYS: dict[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor"}),
    "proportional": frozenset({"factor", "partial_rotary_factor"}),
    "llama3": frozenset(
        {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}
    ),
    "yarn": frozenset(
        {
            "factor",
            "original_max_position_embeddings",
            "attention_factor",
            "mscale",
            "mscale_all_dim",
            "beta_fast",
            "beta_slow",
            "truncate",
        }
    ),
    "longrope": frozenset(
        {"factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor"}
    ),
}
"""Type of rotary embedding -> keys of rope_parameters that determine its angles."""

ROPE_ALWAYS = frozenset({"rope_type", "type", "rope_theta", "finetuned"})
"""Keys of rope_parameters allowed for every type; `finetuned` is only a note."""


def agrees(key: str, value: Any, spec: ModelSpec) -> bool:
    """Whether the value of a key that Transformers does not read for a family agrees with the model."""
    return key in _SAID_ANYWAY and bool(_SAID_ANYWAY[key](spec, value))


def layer_types(spec: ModelSpec) -> list[str]:
    """Transformers' names of the layer types."""
    return [
        "full_attention" if layer.attention.window is None else "sliding_attention" for layer in spec.layers
    ]


def _first_attention(spec: ModelSpec) -> Attention:
    return spec.layers[0].attention


def _first_mlp(spec: ModelSpec) -> Mlp:
    mlp = spec.layers[0].mlp
    return mlp.experts[0] if isinstance(mlp, Experts) else mlp


def _is_activation(spec: ModelSpec, name: Any) -> bool:
    try:
        return activation(name) == _first_mlp(spec).activation
    except (KCircuitsError, TypeError):
        return False


def _is_eps(spec: ModelSpec, value: Any) -> bool:
    return isinstance(value, float) and isclose(value, spec.final_norm.eps, rel_tol=1e-6)


def _is_top_k(spec: ModelSpec, value: Any) -> bool:
    counts = {layer.mlp.top_k for layer in spec.layers if isinstance(layer.mlp, Experts)}
    return counts <= {value}


_SAID_ANYWAY: dict[str, Callable[[ModelSpec, Any], bool]] = {
    "head_dim": lambda spec, value: value == spec.head_dim,
    "num_key_value_heads": lambda spec, value: value == spec.num_kv_heads,
    "num_attention_heads": lambda spec, value: value == spec.num_heads,
    "hidden_size": lambda spec, value: value == spec.width,
    "num_hidden_layers": lambda spec, value: value == len(spec.layers),
    "intermediate_size": lambda spec, value: value == _first_mlp(spec).w_up.shape[0],
    "feed_forward_length": lambda spec, value: value == _first_mlp(spec).w_up.shape[0],
    "rms_norm_eps": _is_eps,
    "layer_norm_eps": _is_eps,
    "layer_norm_epsilon": _is_eps,
    "max_position_embeddings": lambda spec, value: value == spec.max_positions,
    "hidden_act": _is_activation,
    "hidden_activation": _is_activation,
    "activation_function": _is_activation,
    "attention_bias": lambda spec, value: value == (_first_attention(spec).b_q is not None),
    "mlp_bias": lambda spec, value: value == (_first_mlp(spec).b_up is not None),
    "layer_types": lambda spec, value: value == layer_types(spec),
    "sliding_window": lambda spec, value: isinstance(value, int) and value >= spec.max_positions,
    "max_window_layers": lambda spec, _: "sliding_attention" not in layer_types(spec),
    "experts_per_token": _is_top_k,
    "use_parallel_residual": lambda spec, value: value == spec.parallel,
    "is_causal": lambda _, value: value is True,  # all families here are causal
    "rotary": lambda spec, value: value is (_first_attention(spec).rotary is not None),
    "rope_interleaved": lambda _, value: value is False,
    "scale_attn_weights": lambda spec, value: (
        value is True and _first_attention(spec).scale == spec.head_dim**-0.5
    ),
    "qk_layernorm": lambda spec, value: value == (_first_attention(spec).q_norm is not None),
    "full_attn_mod": lambda _, value: value == 1,
    "interpolate_factor": lambda _, value: value == 1,
    "learned_embeddings": lambda spec, value: value == (spec.positions is not None),
    "num_experts_per_tok": _is_top_k,
    "norm_topk_prob": lambda spec, value: all(
        layer.mlp.normalise == value for layer in spec.layers if isinstance(layer.mlp, Experts)
    ),
}
