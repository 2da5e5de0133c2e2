"""Rewrite a model so that its nodes change, but not its outputs."""

from __future__ import annotations

from dataclasses import replace

import torch

from kcircuits.errors import KCircuitsError
from kcircuits.model.quantised import dense
from kcircuits.model.spec import Attention, ModelSpec


def transform_spec(spec: ModelSpec, *, fold_value_biases: bool, keep_positions: bool) -> ModelSpec:
    """The model after the requested transformations of this file."""
    if fold_value_biases:
        spec = with_folded_value_biases(spec)
    return with_kept_positions(spec) if keep_positions else spec


def with_folded_value_biases(spec: ModelSpec) -> ModelSpec:
    """Move every value bias b_V into the attention output bias b_O.

    The attention weights of a position sum to one, so b_V adds the constant W_O b_V to the stream:
    b_O += Σ_h W_O^h b_V^{group of h}, and b_V becomes None. The logits stay the same, but zero ablation
    changes: it removes a head's output, never b_O. TransformerLens does this by default.
    Raises KCircuitsError if the weights do not sum to one (attention sinks).
    """
    layers = [replace(layer, attention=_fold(spec, layer.attention)) for layer in spec.layers]
    return replace(spec, layers=tuple(layers))


def with_kept_positions(spec: ModelSpec) -> ModelSpec:
    """Keep the learned position embedding in every stream, so that it is never ablated.

    Ablating `input` then removes only the token embedding. EAP-IG's library does this, ACDC does not. It
    affects zero and mean ablation of models with learned positions (GPT-2, OPT).
    """
    return replace(spec, ablate_positions=False)


def _fold(spec: ModelSpec, attention: Attention) -> Attention:
    if attention.b_v is None:
        return attention
    if attention.sinks is not None:
        raise KCircuitsError(
            f"value biases cannot be folded in {spec.family}: with attention sinks, weights do not sum to one"
        )
    group = spec.num_heads // spec.num_kv_heads
    wide = torch.promote_types(attention.b_v.dtype, torch.float32)  # bfloat16 would round the sum
    per_head = attention.b_v.to(wide).view(spec.num_kv_heads, spec.head_dim)
    per_head = per_head.repeat_interleave(group, dim=0)  # [H, d]
    constant = dense(attention.w_o).to(wide) @ per_head.reshape(-1)  # [D]
    return replace(attention, b_v=None, b_o=constant if attention.b_o is None else attention.b_o + constant)
