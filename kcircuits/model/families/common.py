"""Functions shared by the families: reading norms, biases, rotary embeddings and the usual decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.activations import activation
from kcircuits.model.spec import Attention, Layer, Mlp, ModelSpec, Norm, Rotary

# Types whose frequencies do not depend on the length of the prompt, up to `max_positions`.
STATIC_ROPE = ("default", "linear", "llama3", "yarn", "proportional", "dynamic", "longrope")


def weight(module: Any) -> Tensor:
    """The module's weight."""
    tensor: Tensor = module.weight.detach()
    return tensor


def bias(module: Any) -> Tensor | None:
    """The module's bias, or None."""
    return None if module.bias is None else module.bias.detach()


def rms_norm(module: Any, unit_offset: bool = False) -> Norm:
    """An RMSNorm module; with `unit_offset` its weight is added to 1 (Gemma), in float32."""
    eps = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    scale = weight(module)
    return Norm("rmsnorm", float(eps), 1 + scale.float() if unit_offset else scale)


def layer_norm(module: Any) -> Norm:
    """A LayerNorm module, with or without weight and bias."""
    if module.weight is None:
        return Norm("layernorm", float(module.eps))
    return Norm("layernorm", float(module.eps), weight(module), bias(module))


def rotary(module: Any, layer_type: str | None = None) -> Rotary:
    """A rotary embedding module, or its part for one layer type.

    Raises KCircuitsError unless the type is known to have the same frequencies for every prompt of at most
    `max_positions` tokens.
    """
    kind = module.rope_type if layer_type is None else module.rope_type[layer_type]
    if kind not in STATIC_ROPE:
        raise KCircuitsError(
            f"rotary embedding of type {kind!r} is not supported; known: {', '.join(STATIC_ROPE)}"
        )
    prefix = "" if layer_type is None else f"{layer_type}_"
    # In these types longer prompts change `inv_freq` in place.
    kept = "original_inv_freq" if kind in ("dynamic", "longrope") else "inv_freq"
    return Rotary(
        inv_freq=getattr(module, f"{prefix}{kept}").detach().float(),
        scale=float(getattr(module, f"{prefix}attention_scaling")),
    )


def check_rotated(angles: Rotary, dims: int) -> None:
    """Raise KCircuitsError unless the angles are for `dims` dimensions, as many as the model rotates."""
    if 2 * len(angles.inv_freq) != dims:
        raise KCircuitsError(
            f"the configuration has angles for {2 * len(angles.inv_freq)} dimensions of a head, but the "
            f"model rotates {dims}; see partial_rotary_factor and the type of rope_parameters"
        )


def max_positions(config: Any) -> int:
    """The longest prompt for which the rotary embedding has its initial frequencies.

    "dynamic" changes them beyond `max_position_embeddings`, "longrope" beyond the original length.
    """
    rope = config.rope_parameters or {}
    by_type = [value for value in rope.values() if isinstance(value, Mapping)]
    originals = [
        int(one["original_max_position_embeddings"])
        for one in by_type or [rope]
        if one.get("rope_type") == "longrope"
    ]
    return min([int(config.max_position_embeddings), *originals])


def fused_attention(
    fused: Any, out: Any, *, groups: int, heads: int, head_dim: int, angles: Rotary
) -> Attention:
    """Attention with one fused matrix that holds, for each group, the queries, the key and the value.

    The matrix is split, which copies it if there is more than one group.
    """

    def taken_apart(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grouped = tensor.unflatten(0, (groups, heads + 2, head_dim))
        return grouped[:, :heads].flatten(0, 2), grouped[:, -2].flatten(0, 1), grouped[:, -1].flatten(0, 1)

    w_q, w_k, w_v = taken_apart(weight(fused))
    biases = bias(fused)
    b_q, b_k, b_v = (None,) * 3 if biases is None else taken_apart(biases)
    return Attention(
        w_q=w_q,
        w_k=w_k,
        w_v=w_v,
        w_o=weight(out),
        b_q=b_q,
        b_k=b_k,
        b_v=b_v,
        b_o=bias(out),
        scale=head_dim**-0.5,
        rotary=angles,
    )


def gated_mlp(mlp: Any, act: str) -> Mlp:
    """An MLP of `gate_proj`, `up_proj` and `down_proj`."""
    return Mlp(
        activation=activation(act),
        w_up=weight(mlp.up_proj),
        w_gate=weight(mlp.gate_proj),
        w_down=weight(mlp.down_proj),
        b_up=bias(mlp.up_proj),
        b_gate=bias(mlp.gate_proj),
        b_down=bias(mlp.down_proj),
    )


def check_no_output_bias(attention: Any) -> None:
    """Raise KCircuitsError for an output bias before a norm, after which it is not a constant."""
    if attention.o_proj.bias is not None:
        raise KCircuitsError("an attention output bias before a norm is not supported: attention_bias=true")


def plain_mlp(up: Any, down: Any, act: str) -> Mlp:
    """An MLP of two linear layers."""
    return Mlp(
        activation=activation(act),
        w_up=weight(up),
        b_up=bias(up),
        w_down=weight(down),
        b_down=bias(down),
    )


def decoder(
    hf_model: Any, layer_of: Callable[[Any], Layer], norm: Norm | None = None, **more: Any
) -> ModelSpec:
    """A model built like LLaMA's: `model.embed_tokens`, `model.layers`, `model.norm` and `lm_head`.

    Parameters
    ----------
    layer_of
        Function that reads one layer.
    norm
        The final norm, if it is not a plain RMSNorm.
    more
        Further fields of the specification.
    """
    config, body = hf_model.config, hf_model.model
    fields: dict[str, Any] = {
        "family": config.model_type,
        "num_heads": config.num_attention_heads,
        "num_kv_heads": config.num_key_value_heads,
        "head_dim": body.layers[0].self_attn.head_dim,
        "embedding": weight(body.embed_tokens),
        "layers": tuple(layer_of(block) for block in body.layers),
        "final_norm": norm or rms_norm(body.norm),
        "unembedding": weight(hf_model.lm_head),
        "max_positions": max_positions(config),
    }
    return ModelSpec(**fields | more)
