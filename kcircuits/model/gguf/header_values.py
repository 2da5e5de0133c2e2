"""Translate keys of a GGUF header into a Hugging Face configuration: sizes, norms and rotation."""

from __future__ import annotations

import math
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.model.gguf.file import GgufFile
from kcircuits.model.gguf.sources import Sizes

ROPE_FACTORS = "rope_freqs.weight"
"""Tensor of divisors for the frequencies (Llama 3's scaling)."""

LONG_FACTORS, SHORT_FACTORS = "rope_factors_long.weight", "rope_factors_short.weight"


def one_for_all_layers(file: GgufFile, name: str, *default: Any) -> Any:
    """A number that a header gives once or per layer; raises KCircuitsError if layers differ."""
    value = file.take_own(name, *default)
    if not isinstance(value, list):
        return value
    if len(set(value)) != 1:
        raise KCircuitsError(
            f"{file.path}: {file.architecture}.{name} differs between layers ({quote(value)}), "
            "which is not supported"
        )
    return value[0]


def sizes_of(file: GgufFile) -> Sizes:
    """Numbers of heads and their width; raises KCircuitsError if keys and values differ in width."""
    heads = one_for_all_layers(file, "attention.head_count")
    kv_heads = one_for_all_layers(file, "attention.head_count_kv", heads)
    if (
        not (isinstance(heads, int) and isinstance(kv_heads, int))
        or heads < 1
        or kv_heads < 1
        or heads % kv_heads
    ):
        raise KCircuitsError(
            f"{file.path} has {quote(heads)} query heads and {quote(kv_heads)} key/value heads"
        )
    head_dim = file.take_own("attention.key_length", file.take_own("embedding_length") // heads)
    if file.take_own("attention.value_length", head_dim) != head_dim:
        raise KCircuitsError(f"{file.path} has values and keys of different widths, which is not supported")
    experts = file.take_own("expert_count", 0)
    return Sizes(heads, kv_heads, head_dim, experts)


def basics(file: GgufFile, sizes: Sizes) -> dict[str, Any]:
    """The sizes that every family's configuration has, under LLaMA's names.

    Raises KCircuitsError if the vocabulary has another size than the header says, or attention is not causal.
    """
    if not file.take_own("attention.causal", True):
        raise KCircuitsError(f"{file.path} attends to later tokens, which is not supported")
    vocab_size = len(file.tensor("token_embd.weight").data)
    if file.take_own("vocab_size", vocab_size) != vocab_size:
        raise KCircuitsError(f"{file.path} has {vocab_size} token embeddings, but its header differs")
    for name in ("block_count", "context_length", "embedding_length"):
        if type(value := file.take_own(name)) is not int or value < 1:
            raise KCircuitsError(
                f"{file.path}: {file.architecture}.{name} is {quote(value)}, not a positive number"
            )
    return {
        "num_hidden_layers": file.take_own("block_count"),
        "hidden_size": file.take_own("embedding_length"),
        "intermediate_size": one_for_all_layers(file, "feed_forward_length"),
        "max_position_embeddings": file.take_own("context_length"),
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "vocab_size": vocab_size,
        "tie_word_embeddings": not file.has("output.weight"),
        "bos_token_id": None,  # the tokenizer has them
        "eos_token_id": None,
        "pad_token_id": None,
    }


def rms_eps(file: GgufFile) -> float:
    """The epsilon of RMSNorm, added to the mean of squares."""
    return float(file.take_own("attention.layer_norm_rms_epsilon"))


def layer_eps(file: GgufFile) -> float:
    """The epsilon of LayerNorm, added to the variance."""
    return float(file.take_own("attention.layer_norm_epsilon"))


def rotation(
    file: GgufFile, sizes: Sizes, base: float | None = None, *, partial: bool = False
) -> dict[str, Any]:
    """`rope_parameters` of a configuration.

    Parameters
    ----------
    base
        The base of the frequencies if the header has none; None if converters always write it.
    partial
        Whether the family may rotate only a part of each head.

    Raises
    ------
    KCircuitsError
        If the rotation has an unknown type, or a number is missing.
    """
    theta = file.take_own("rope.freq_base") if base is None else file.take_own("rope.freq_base", base)
    if not theta > 0:
        raise KCircuitsError(
            f"{file.path}: {file.architecture}.rope.freq_base is {quote(theta)}, not positive"
        )
    rotated = file.take_own("rope.dimension_count", *([] if partial else [sizes.head_dim]))
    found: dict[str, Any] = {"rope_theta": float(theta)}
    if partial:
        found["partial_rotary_factor"] = _factor(rotated, sizes.head_dim)
    elif rotated != sizes.head_dim:
        raise KCircuitsError(
            f"{file.path} rotates {rotated} of {sizes.head_dim} dimensions, which is not supported for "
            f"{file.architecture!r}"
        )
    return found | _scaling(file, rotated)


def _factor(rotated: int, head_dim: int) -> float:
    """The share for Transformers, which multiplies it by the head's width and rounds down."""
    factor = rotated / head_dim
    return factor if int(head_dim * factor) == rotated else math.nextafter(factor, 1.0)


def _scaling(file: GgufFile, rotated: int) -> dict[str, Any]:
    old_factor = file.take_own("rope.scale_linear", None)
    factor = file.take_own("rope.scaling.factor", old_factor)
    factor = factor or None  # 0 means none
    kind = file.take_own("rope.scaling.type", None)
    original = file.take_own("rope.scaling.original_context_length", None)
    if file.has(LONG_FACTORS) or file.has(SHORT_FACTORS):
        return _longrope(file, kind, original, rotated)
    if file.has(ROPE_FACTORS):
        if kind not in (None, "none"):
            raise KCircuitsError(
                f"{file.path} has both {ROPE_FACTORS} and a rotation scaling of type {quote(kind)}"
            )
        # With equal lists, "longrope" divides the frequencies by them at any length.
        factors = _factors(file, ROPE_FACTORS, rotated)
        length = file.take_own("context_length")
        return _as_longrope(factors, factors, length, attention_factor=1.0)
    if kind is None and factor is not None and file.take_own("rope.scale_linear", None) is None:
        raise KCircuitsError(f"{file.path} has {file.architecture}.rope.scaling.factor, but not its type")
    if kind == "none" or (kind is None and factor is None):
        return {"rope_type": "default"}
    if factor is None:
        raise KCircuitsError(f"{file.path} lacks the key '{file.architecture}.rope.scaling.factor'")
    if kind in (None, "linear"):
        return {"rope_type": "linear", "factor": float(factor)}
    if kind == "yarn":
        return _yarn(file, float(factor), original)
    raise KCircuitsError(f"{file.path} has the unknown rotation scaling {quote(kind)}")


def _yarn(file: GgufFile, factor: float, original: int | None) -> dict[str, Any]:
    if original is None:
        raise KCircuitsError(f"{file.path} lacks '{file.architecture}.rope.scaling.original_context_length'")
    mixing = file.take_own("rope.scaling.yarn_ext_factor", 1.0)
    if mixing != 1.0:
        raise KCircuitsError(f"{file.path}: a yarn_ext_factor of {quote(mixing)} is not supported, only 1")
    multiplier = file.take_own("rope.scaling.yarn_log_multiplier", 0.0)
    if multiplier != 0.0:
        raise KCircuitsError(
            f"{file.path}: a yarn_log_multiplier of {quote(multiplier)} is not supported, only 0"
        )
    found: dict[str, Any] = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original,
        "beta_fast": float(file.take_own("rope.scaling.yarn_beta_fast", 32.0)),
        "beta_slow": float(file.take_own("rope.scaling.yarn_beta_slow", 1.0)),
    }
    scale = file.take_own("rope.scaling.yarn_attn_factor", file.take_own("rope.scaling.attn_factor", None))
    return found if scale is None else found | {"attention_factor": float(scale)}


def _longrope(file: GgufFile, kind: str | None, original: int | None, rotated: int) -> dict[str, Any]:
    if kind not in (None, "longrope"):
        raise KCircuitsError(f"{file.path} has {LONG_FACTORS} and a rotation scaling of type {quote(kind)}")
    if original is None:
        raise KCircuitsError(f"{file.path} lacks '{file.architecture}.rope.scaling.original_context_length'")
    return _as_longrope(
        _factors(file, SHORT_FACTORS, rotated),
        _factors(file, LONG_FACTORS, rotated),
        original,
        attention_factor=float(file.take_own("rope.scaling.attn_factor")),
    )


def _as_longrope(
    short: list[float], long: list[float], original: int, attention_factor: float
) -> dict[str, Any]:
    return {
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": long,
        "original_max_position_embeddings": original,
        "attention_factor": attention_factor,
    }


def _factors(file: GgufFile, name: str, rotated: int) -> list[float]:
    factors: list[float] = file.tensor(name).data.reshape(-1).tolist()
    if len(factors) != rotated // 2 or not all(0 < factor < math.inf for factor in factors):
        raise KCircuitsError(
            f"{file.path}: {name} must hold {rotated // 2} positive numbers, one for each rotated pair"
        )
    return factors
