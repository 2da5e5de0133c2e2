"""Check a specification for invalid numbers before any run."""

from __future__ import annotations

import math
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.model.spec import Attention, Experts, ModelSpec, Norm, Rotary, map_leaves


def check_numbers(spec: ModelSpec) -> None:
    """Raise KCircuitsError that names the first invalid number.

    Such a model would give NaN or an error of another library, and Transformers may behave differently.
    """
    _check("max_positions", spec.max_positions, spec.max_positions >= 1, "at least 1")
    _check("the scale of embeddings", spec.embedding_scale, math.isfinite(spec.embedding_scale), "finite")
    _check_cap("the soft cap of logits", spec.logit_soft_cap)
    map_leaves(spec, (Norm, Rotary), _check_part)
    for layer in spec.layers:
        _check_attention(layer.attention)
        if isinstance(layer.mlp, Experts):
            count = len(layer.mlp.experts)
            top_k = layer.mlp.top_k
            _check("the number of chosen experts", top_k, 1 <= top_k <= count, f"from 1 to {count}")


def _check_part(part: Any, _: str) -> Any:
    if isinstance(part, Norm):
        _check("the epsilon of a norm", part.eps, 0 <= part.eps < math.inf, "at least 0")
    else:
        angles = part.inv_freq
        good = bool((angles.isfinite() & (angles >= 0)).all()) and math.isfinite(part.scale)
        _check(
            "an angle of the rotation",
            angles.tolist()[:4],
            good,
            "finite and not negative; see its base and factor",
        )
    return part


def _check_attention(attention: Attention) -> None:
    _check("the scale of attention", attention.scale, math.isfinite(attention.scale), "finite")
    window = attention.window
    _check("a sliding window", window, window is None or window >= 1, "at least 1, or null for none")
    _check_cap("the soft cap of attention", attention.soft_cap)


def _check_cap(what: str, cap: float | None) -> None:
    _check(what, cap, cap is None or 0 < cap < math.inf, "positive, or null for none")


def _check(what: str, value: object, is_good: bool, wanted: str) -> None:
    if not is_good:
        raise KCircuitsError(f"{what} is {quote(value)}, and must be {wanted}")
