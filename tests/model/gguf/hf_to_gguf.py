"""Write any tiny Hugging Face model as GGUF, in float32, as llama.cpp's converters do.

Tensors have the names of the `gguf` package's own table, so that our reader's tables are not tested against
themselves; keys and rearrangements are those of llama.cpp's converters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

ARCHITECTURES = {
    "falcon": "falcon",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "gpt2": "gpt2",
    "gpt_neox": "gptneox",
    "gpt_oss": "gpt-oss",
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "olmo2": "olmo2",
    "phi": "phi2",
    "phi3": "phi3",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "stablelm": "stablelm",
}
"""`model_type` -> architecture; GPT-J and OPT have none in llama.cpp."""

Keys = dict[str, Any]
Tensors = dict[str, NDArray[np.generic]]


def write_model(
    model: PreTrainedModel,
    file: Path,
    *,
    change: Callable[[Keys, Tensors], None] = lambda keys, tensors: None,
    kind: gguf.GGMLQuantizationType | None = None,
    parts: int = 1,
) -> Path:
    """Write the model without a tokenizer.

    change: may alter what is written. kind: of the matrices whose columns it fits, float32 otherwise. parts:
    into so many files, named as llama.cpp does; the first one is returned.
    """
    keys, tensors = keys_of(model), tensors_of(model)
    change(keys, tensors)
    return write_file(keys, tensors, file, kind=kind, parts=parts)


def write_file(
    keys: Keys,
    tensors: Tensors,
    file: Path,
    *,
    kind: gguf.GGMLQuantizationType | None = None,
    parts: int = 1,
    empty_first: bool = False,
) -> Path:
    """Write a header and tensors, as `write_model` does; with `empty_first` none into the first part."""
    files = [file]
    if parts > 1:
        files = [file.with_name(f"{file.stem}-{n + 1:05d}-of-{parts:05d}.gguf") for n in range(parts)]
    for number, path in enumerate(files):
        writer = gguf.GGUFWriter(path, keys.get("general.architecture", ""))
        if number == 0:
            for key, value in keys.items():
                if key != "general.architecture":
                    add_key(writer, key, value)
        if parts > 1:
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", parts)
            writer.add_int32("split.tensors.count", len(tensors))
        names = list(tensors)
        for name in (
            names[number::parts] if not empty_first else names[number - 1 :: parts - 1] if number else []
        ):
            _add_tensor(writer, name, tensors[name], kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return files[0]


def add_key(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    """Write a key with the type that its Python value has in llama.cpp's converters."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _add_tensor(
    writer: gguf.GGUFWriter, name: str, values: NDArray[np.generic], kind: gguf.GGMLQuantizationType | None
) -> None:
    if kind is not None and values.ndim > 1 and values.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0:
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))


def keys_of(model: PreTrainedModel) -> Keys:
    """The header of a model."""
    config: Any = model.config
    arch = ARCHITECTURES[config.model_type]
    heads, width = config.num_attention_heads, config.hidden_size
    head_dim = getattr(config, "head_dim", None) or width // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    own: Keys = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": width,
        "feed_forward_length": getattr(config, "intermediate_size", None)
        or getattr(config, "n_inner", None)
        or 4 * width,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "vocab_size": config.vocab_size,
    }
    for key, names in {
        "attention.layer_norm_rms_epsilon": ["rms_norm_eps"],
        "attention.layer_norm_epsilon": ["layer_norm_eps", "layer_norm_epsilon"],
    }.items():
        found = [getattr(config, name) for name in names if hasattr(config, name)]
        own |= {key: float(found[0])} if found else {}
    own |= _of_family(arch, config, head_dim)
    return {
        "general.architecture": arch,
        "general.name": "tiny",
        **{f"{arch}.{key}": value for key, value in own.items()},
        "tokenizer.ggml.model": "none",
    }


def _of_family(arch: str, config: Any, head_dim: int) -> Keys:
    rope = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    wide = {"attention.key_length": head_dim, "attention.value_length": head_dim}
    base = {"rope.freq_base": float(rope.get("rope_theta", 0))}
    partial = {"rope.dimension_count": int(head_dim * rope.get("partial_rotary_factor", 1.0))}
    match arch:
        case "llama":
            experts = getattr(config, "num_local_experts", None)
            window = getattr(config, "sliding_window", None)
            own = wide | base | _scaling(rope) | {"rope.dimension_count": head_dim}
            own |= {} if window is None else {"attention.sliding_window": window}
            return own if experts is None else own | _experts(experts, config)
        case "qwen2":
            return base | _scaling(rope)
        case "qwen3":
            return wide | base | _scaling(rope)
        case "qwen3moe":
            moe = {"expert_feed_forward_length": config.moe_intermediate_size}
            return wide | base | _scaling(rope) | moe | _experts(config.num_experts, config)
        case "gemma":
            return wide
        case "gemma2":
            caps = ("attn_logit_softcapping", "final_logit_softcapping")
            window = {"attention.sliding_window": config.sliding_window}
            return wide | window | {name: float(getattr(config, name)) for name in caps}
        case "gemma3":
            window = {"attention.sliding_window": config.sliding_window}
            cap = config.final_logit_softcapping
            own = wide | base | _scaling(rope) | window
            return own if cap is None else own | {"final_logit_softcapping": float(cap)}
        case "olmo2":
            return base | _scaling(rope)
        case "stablelm":
            return partial | {"use_parallel_residual": config.use_parallel_residual}
        case "phi2":
            return partial
        case "phi3":
            original = rope.get("original_max_position_embeddings", config.original_max_position_embeddings)
            own = base | partial | {"attention.sliding_window": config.sliding_window or 0}
            own |= {"rope.scaling.original_context_length": original}
            if rope["rope_type"] != "longrope":
                return own
            ratio = config.max_position_embeddings / original
            factor = math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0
            return own | {"rope.scaling.attn_factor": factor}
        case "gptneox":
            return partial | {"use_parallel_residual": config.use_parallel_residual}
        case "falcon":
            kv_heads = config.num_kv_heads if config.new_decoder_architecture else 1
            return {
                "attention.head_count_kv": kv_heads,
                "tensor_data_layout": "jploski",
                "feed_forward_length": config.ffn_hidden_size,
            }
        case "gpt-oss":
            window = {"attention.sliding_window": config.sliding_window}
            ffn = {"expert_feed_forward_length": config.intermediate_size}
            return wide | base | _scaling(rope) | window | ffn | _experts(config.num_local_experts, config)
    return {}


def _experts(count: int, config: Any) -> Keys:
    return {"expert_count": count, "expert_used_count": config.num_experts_per_tok}


def _scaling(rope: Keys) -> Keys:
    kind = rope.get("rope_type")
    if kind == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}
    if kind == "yarn":
        own: Keys = {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": float(rope["factor"]),
            "rope.scaling.original_context_length": rope["original_max_position_embeddings"],
        }
        for key, name in {
            "attn_factor": "attention_factor",
            "beta_fast": "beta_fast",
            "beta_slow": "beta_slow",
        }.items():
            if rope.get(name) is not None:
                own[f"rope.scaling.yarn_{key}"] = float(rope[name])
        return own
    return {}


def tensors_of(model: PreTrainedModel) -> Tensors:
    """The tensors of a model under GGUF's names."""
    config: Any = model.config
    arch = ARCHITECTURES[config.model_type]
    numbers = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    known = gguf.get_tensor_name_map(numbers[arch], config.num_hidden_layers)
    found: Tensors = {}
    for name, values in _parameters(model):
        stem, _, ending = name.rpartition(".")
        if ending not in ("weight", "bias"):
            stem, ending = name, "weight"
        new = known.get_name(stem)
        assert new is not None, f"gguf has no name for {name}"
        found[f"{new}.{ending}"] = values.numpy()
    return found | _rope_tensors(config)


def _parameters(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    config: Any = model.config
    arch = ARCHITECTURES[config.model_type]
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    for name, parameter in model.named_parameters():
        values = parameter.detach()
        if ".experts." in name:
            yield from _expert_parts(arch, name, values)
        elif arch == "llama" and "q_proj" in name:
            yield name, _interleaved(values, heads)
        elif arch == "llama" and "k_proj" in name:
            yield name, _interleaved(values, kv_heads)
        elif arch.startswith("gemma") and name.endswith("norm.weight"):
            yield name, values + 1
        elif arch == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            yield name, values.t()
        elif arch == "gptneox" and "query_key_value" in name:
            yield name, _ungrouped(values, heads, 1)
        elif arch == "falcon" and "query_key_value" in name:
            groups = config.num_kv_heads if config.new_decoder_architecture else 1
            yield name, _ungrouped(values, groups, heads // groups)
        else:
            yield name, values


def _interleaved(values: Tensor, heads: int) -> Tensor:
    return values.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def _ungrouped(values: Tensor, groups: int, heads: int) -> Tensor:
    """From group after group to all queries, all keys, all values."""
    grouped = values.unflatten(0, (groups, heads + 2, -1))
    return torch.cat(
        [
            grouped[:, :heads].flatten(0, 2),
            grouped[:, heads].flatten(0, 1),
            grouped[:, heads + 1].flatten(0, 1),
        ]
    )


def _expert_parts(arch: str, name: str, values: Tensor) -> Iterator[tuple[str, Tensor]]:
    start = name.partition(".experts.")[0] + ".experts."
    ending = ".bias" if name.endswith("_bias") else ".weight"
    if arch == "gpt-oss" and ending == ".weight":
        values = values.transpose(1, 2)  # [experts, out, in]
    if "down_proj" in name:
        yield f"{start}down_proj{ending}", values
    elif arch == "gpt-oss":
        yield f"{start}gate_proj{ending}", values[:, ::2]
        yield f"{start}up_proj{ending}", values[:, 1::2]
    else:
        gate, up = values.chunk(2, dim=1)
        yield f"{start}gate_proj{ending}", gate
        yield f"{start}up_proj{ending}", up


def _rope_tensors(config: Any) -> Tensors:
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        return {
            "rope_factors_long.weight": np.array(rope["long_factor"], dtype=np.float32),
            "rope_factors_short.weight": np.array(rope["short_factor"], dtype=np.float32),
        }
    if rope.get("rope_type") != "llama3":
        return {}
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    low, high, original = (
        rope[name] for name in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    )
    factors = []
    for pair in range(head_dim // 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (2 * pair / head_dim)
        mix = min(1.0, max(0.0, (original / wavelength - low) / (high - low)))
        factors.append(1 / ((1 - mix) / rope["factor"] + mix))
    return {"rope_freqs.weight": np.array(factors, dtype=np.float32)}
