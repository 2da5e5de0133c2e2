"""Other values for every field of every family's configuration: what a test sets, one at a time."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig

from kcircuits.model.families import FAMILIES
from tests.models import ALTERNATING, EXPERTS, GPTJ, OPT, VOCABULARY, llama_sizes

LAYERS = 2
POSITIONS = 32

_SHARED = llama_sizes(
    num_hidden_layers=LAYERS,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=POSITIONS,
    pad_token_id=None,
)
_NO_HEAD_DIM = {key: value for key, value in _SHARED.items() if key != "head_dim"}
_ONE_HEAD_COUNT = {key: value for key, value in _NO_HEAD_DIM.items() if key != "num_key_value_heads"}
_FALCON = {key: value for key, value in _ONE_HEAD_COUNT.items() if key != "intermediate_size"}
_GPT = {"n_layer": LAYERS, "n_head": 4, "n_embd": 32, "n_positions": POSITIONS, "vocab_size": VOCABULARY}
_POST_NORM = {"sliding_window": 3, "query_pre_attn_scalar": 16, "tie_word_embeddings": True}
_MOE = {"num_experts": 4, "moe_intermediate_size": 24}
_WINDOWS = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
_IDS = {"bos_token_id": 0, "eos_token_id": 0}

BASES: dict[str, list[dict[str, Any]]] = {
    "falcon": [
        _FALCON,
        _FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": True},
        _FALCON | {"parallel_attn": False, "multi_query": False},
    ],
    "gemma": [_SHARED | {"tie_word_embeddings": True}],
    "gemma2": [_SHARED | _POST_NORM | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}],
    "gemma3_text": [_SHARED | _POST_NORM | {"sliding_window_pattern": 2}],
    "gpt2": [_GPT | _IDS],
    "gpt_neox": [_ONE_HEAD_COUNT],
    "gpt_oss": [_SHARED | {"num_local_experts": 4, "sliding_window": 3, "rope_theta": 1e4} | EXPERTS],
    "gptj": [GPTJ | _GPT | _IDS],
    "llama": [_SHARED],
    "mistral": [_SHARED | {"sliding_window": 4}],
    "mixtral": [_SHARED | {"num_local_experts": 4} | EXPERTS],
    "olmo2": [_NO_HEAD_DIM],
    "opt": [OPT | {"num_hidden_layers": LAYERS, "max_position_embeddings": POSITIONS} | _IDS],
    "phi": [_NO_HEAD_DIM],
    "phi3": [_NO_HEAD_DIM | {"original_max_position_embeddings": 8}],
    "qwen2": [_NO_HEAD_DIM, _NO_HEAD_DIM | _WINDOWS],
    "qwen3": [_SHARED, _SHARED | _WINDOWS],
    "qwen3_moe": [
        _SHARED | _MOE | EXPERTS,
        _SHARED | _MOE | EXPERTS | {"use_sliding_window": True, "sliding_window": 3},
    ],
    "stablelm": [_NO_HEAD_DIM, _NO_HEAD_DIM | {"use_parallel_residual": True}],
}
"""Family -> configurations of 2 layers, 4 heads and width 32, each to be changed in one place."""

_FACTORS = [1.0, 1.5, 2.0, 3.0]
_ROPES: list[dict[str, Any]] = [
    {"rope_type": "default", "rope_theta": 100.0},
    {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
    {"rope_type": "default", "rope_theta": 100.0, "factor": 3.0},
    {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0},
    {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0, "partial_rotary_factor": 0.5},
    {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 100.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8, "rope_theta": 100.0},
    {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 8,
        "rope_theta": 100.0,
        "mscale": 0.7,
        "mscale_all_dim": 1.3,
        "beta_fast": 4,
        "beta_slow": 2,
        "truncate": False,
    },
    {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.7, "rope_theta": 100.0},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8,
        "rope_theta": 100.0,
    },
    {
        "rope_type": "longrope",
        "factor": 4.0,
        "original_max_position_embeddings": 8,
        "short_factor": _FACTORS,
        "long_factor": [4.0 * factor for factor in _FACTORS],
        "rope_theta": 100.0,
    },
    {"type": "su", "short_factor": _FACTORS, "long_factor": _FACTORS, "rope_theta": 100.0},
    {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 100.0},
]
_BY_TYPE: list[dict[str, Any]] = [
    {
        "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
    },
]

_ACTIVATIONS = ["gelu", "gelu_new", "relu", "silu", "tanh", "relu2", "quick_gelu", "gelu_10"]
_VALUES: dict[str, list[Any]] = {
    "activation": _ACTIVATIONS,
    "activation_function": _ACTIVATIONS,
    "hidden_act": _ACTIVATIONS,
    "hidden_activation": _ACTIVATIONS,
    "rope_parameters": [*_ROPES, *_BY_TYPE],
    "rope_scaling": [None, {"type": "linear", "factor": 2.0}],
    "rope_theta": [50.0],
    "partial_rotary_factor": [0.5, 1.0],
    "rotary_pct": [0.5, 1.0],
    "rotary_emb_base": [50],
    "rotary_dim": [2, 3, 8, 12, None],
    "original_max_position_embeddings": [8],
    "sliding_window": [None, 1, 5, 100],
    "sliding_window_pattern": [1, 3],
    "layer_types": [
        ALTERNATING[:LAYERS],
        ALTERNATING[1 : LAYERS + 1],
        ["sliding_attention"] * LAYERS,
        ["full_attention"] * LAYERS,
        ["chunked_attention"] * LAYERS,
    ],
    "mlp_only_layers": [[0], [0, 1]],
    "decoder_sparse_step": [2],
    "num_key_value_heads": [None, 1, 2, 4],
    "num_kv_heads": [None, 1, 2],
    "num_attention_heads": [2, 8],
    "n_head": [2, 8],
    "head_dim": [None, 4, 12],
    "num_hidden_layers": [1, 3],
    "n_layer": [1, 3],
    "hidden_size": [16, 64],
    "n_embd": [16, 64],
    "word_embed_proj_dim": [None, 16],
    "vocab_size": [VOCABULARY + 2],
    "num_experts": [3],
    "num_local_experts": [3],
    "num_experts_per_tok": [1, 3],
    "num_ln_in_parallel_attn": [1, 2],
    "pretraining_tp": [2],
    "dtype": ["bfloat16"],
    "problem_type": ["regression"],
    "architectures": [["SomethingElse"]],
    "id2label": [{0: "a", 1: "b", 2: "c"}],
    "label2id": [{"a": 0}],
    "transformers_version": ["4.0.0"],
    "per_layer_config": [{0: {"intermediate_size": 24}}],
    "summary_type": ["last"],
    "summary_activation": ["tanh"],
    "output_hidden_states": [True],
    "bos_token_id": [None, 1],
    "eos_token_id": [None, 1, [1, 2]],
    "pad_token_id": [0, 3],
}
"""Field -> other values, where their type does not say enough."""

BEYOND = {"output_attentions": [True], "head_dim": [4, 12], "rope_scaling": _VALUES["rope_scaling"]} | {
    key: _VALUES[key] for key in ("rope_theta", "partial_rotary_factor", "per_layer_config")
}
"""Keys that no class declares and Transformers reads all the same."""


def declared(family: str) -> dict[str, Any]:
    """The fields of a family's configuration and their defaults."""
    config: type[PretrainedConfig] = CONFIG_MAPPING[family]
    return {field.name: None if field.default is MISSING else field.default for field in fields(config)}


def other_values(key: str, default: Any) -> list[Any]:
    """Plausible values of a field: from the table, or what another value of its type is."""
    if key in _VALUES:
        return _VALUES[key]
    if isinstance(default, bool) or key.startswith(("use_", "is_", "do_")):
        return [not default]
    if isinstance(default, int):
        return [2 * default + 2] if default < 8 else [default // 2, 40]
    if isinstance(default, float):
        return [1.5 * default + 0.25, 1e-3]
    return [True, 2, 0.5]


def one_change_each(family: str) -> list[tuple[str, Any]]:
    """(key, value) for each other value of each field of the family's own configuration."""
    return [(key, value) for key, default in declared(family).items() for value in other_values(key, default)]


def keys_of_others(family: str) -> list[tuple[str, Any]]:
    """(key, a value that is not None) for each key that other families have and this one does not declare."""
    foreign: dict[str, list[Any]] = {}
    for other in FAMILIES:
        for key, default in declared(other).items():
            foreign.setdefault(key, other_values(key, default))
    own = declared(family).keys() | CONFIG_MAPPING[family].attribute_map.keys()
    return [
        (key, next(value for value in values if value is not None))
        for key, values in (foreign | BEYOND).items()
        if key not in own
    ]
