"""Recognise tensors of a checkpoint that are not weights, and refuse invalid names and dtypes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError

FLOATING = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Dtypes of unquantised weights."""

_ROTATING = (
    "falcon|gemma|gemma2|gemma3_text|gpt_neox|gpt_oss|llama|mistral|mixtral|olmo2|phi|phi3|qwen2|qwen3|"
    "qwen3_moe|stablelm"
)

BUFFERS: tuple[tuple[str, str, str], ...] = (
    (
        "gpt2|gptj",
        r"attn\.(masked_)?bias",
        "the causal mask, and the constant behind it",
    ),
    ("gpt2", r"crossattention\.(masked_)?bias", "the causal mask of an unused attention"),
    ("gptj", r"attn\.embed_positions", "the table of angles, made from rotary_dim"),
    ("gpt_neox", r"attention\.(masked_)?bias", "the causal mask, and the constant behind it"),
    (_ROTATING, r"rotary_emb\.(inv_freq|cos_cached|sin_cached)", "the angles, made from the configuration"),
    ("opt", r"decoder\.version", "a version number"),
)
"""(families, name suffix, description): tensors in old checkpoints that no model uses."""

_WRAPPERS = {
    "base_model.model.": "PEFT: merge the adapter first with merge_and_unload()",
    "_orig_mod.": "torch.compile: save the model itself, which is model._orig_mod",
    "module.": "DataParallel or DeepSpeed: save the model itself, which is model.module",
    "_fsdp_wrapped_module.": "FSDP: gather a full state dict first",
    "_forward_module.": "Lightning Fabric: save the model itself",
}
_ADAPTED = re.compile(r"\.(lora_[AB]|lora_embedding_[AB]|base_layer|modules_to_save|original_module)\b")


def is_buffer(name: str, family: str) -> bool:
    """Whether a tensor of this name is an unused constant in old checkpoints of a family."""
    return any(
        family in families.split("|") and re.search(rf"(^|\.){end}$", name) for families, end, _ in BUFFERS
    )


def without_buffers(tensors: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """The tensors that are weights."""
    return {name: tensor for name, tensor in tensors.items() if not is_buffer(name, family)}


def check_tensors(tensors: Mapping[str, Tensor], family: str, folder: Path) -> None:
    """Refuse tensors that no model of the family can have, before any of them is used.

    Raises KCircuitsError for names of a wrapper or an adapter, and for dtypes that weights cannot have.
    """
    for name, tensor in tensors.items():
        for prefix, what in _WRAPPERS.items():
            if name.startswith(prefix) or (prefix.startswith("_") and f".{prefix}" in name):
                raise KCircuitsError(
                    f"the weights in {folder} were saved from a wrapper ({name!r}), {what}; then save again"
                )
        if _ADAPTED.search(name):
            raise KCircuitsError(
                f"the weights in {folder} hold an adapter ({name!r}): "
                "merge it first (peft: merge_and_unload())"
            )
        if tensor.dtype not in FLOATING and not is_buffer(name, family):
            raise KCircuitsError(
                f"the weight {name!r} in {folder} is stored as {tensor.dtype}, so it is quantised or not a "
                "weight; dequantise it to a floating type of 16 bits or more first"
            )


def check_nesting(missing: Iterable[str], unexpected: Iterable[str], folder: Path) -> None:
    """Refuse weights if all their names are nested one level too deep."""
    stored = set(unexpected)
    for name in missing:
        for other in stored:
            if other.endswith(f".{name}"):
                raise KCircuitsError(
                    f"the names of the weights in {folder} begin with {other.removesuffix(name)!r}, and the "
                    f"family's do not ({name!r}): they are part of another model; save this one alone"
                )
        return  # checking the first one is enough
