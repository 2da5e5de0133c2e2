"""What families' files share: how norms, biases, rotations and the usual decoder are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.spec import Attention, Layer, Mlp, ModelSpec, Norm, Rotary

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "quick_gelu"]

# Several Hugging Face names stand for one function that is written in several ways.
ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "relu": "relu",
    "quick_gelu": "quick_gelu",
}

# In these the frequencies do not depend on the length of the prompt; in "longrope" they do not up to
# the length that the model was first trained on (`longest_prompt`).
STATIC_ROPE = ("default", "linear", "llama3", "yarn", "proportional", "longrope")


def activation(name: str) -> Activation:
    """Our name of a Hugging Face activation; raises KCircuitsError for one that we do not have."""
    if name not in ACTIVATIONS:
        raise KCircuitsError(f"activation {name!r} is not known; known: {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]


def weight(module: Any) -> Tensor:
    """The module's weight."""
    tensor: Tensor = module.weight.detach()
    return tensor


def bias(module: Any) -> Tensor | None:
    """The module's bias, where it has one."""
    return None if module.bias is None else module.bias.detach()


def rms_norm(module: Any, unit_offset: bool = False) -> Norm:
    """An RMSNorm module; with `unit_offset` its weight is what is added to 1 (Gemma), in float32."""
    eps = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    scale = weight(module)
    return Norm("rmsnorm", float(eps), 1 + scale.float() if unit_offset else scale)


def layer_norm(module: Any) -> Norm:
    """A LayerNorm module, with or without weight and bias."""
    if module.weight is None:
        return Norm("layernorm", float(module.eps))
    return Norm("layernorm", float(module.eps), weight(module), bias(module))


def rotary(module: Any, layer_type: str | None = None) -> Rotary:
    """A rotary embedding module, or that of one type of layers.

    Raises KCircuitsError where the frequencies change with the length of the prompt.
    """
    kind = module.rope_type if layer_type is None else module.rope_type[layer_type]
    if kind not in STATIC_ROPE:
        raise KCircuitsError(
            f"rotary embedding of type {kind!r} is not supported; known: {', '.join(STATIC_ROPE)}"
        )
    prefix = "" if layer_type is None else f"{layer_type}_"
    return Rotary(
        inv_freq=getattr(module, f"{prefix}inv_freq").detach().float(),
        scale=float(getattr(module, f"{prefix}attention_scaling")),
    )


def longest_prompt(config: Any) -> int:
    """Positions for which the frequencies of `rotary` hold.

    Long rope divides them by one list of numbers up to the length that the model was first trained on, and by
    another in longer prompts, which are refused for that reason.
    """
    most: int = config.max_position_embeddings
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope" or rope["short_factor"] == rope["long_factor"]:
        return most
    return min(most, int(rope["original_max_position_embeddings"]))


def fused_attention(
    fused: Any, out: Any, *, groups: int, heads: int, head_dim: int, angles: Rotary
) -> Attention:
    """Attention whose one matrix holds, group after group, the queries of its heads, its key and its value.

    They are taken apart, which copies them where there is more than one group.
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
    """Raise KCircuitsError for an output bias before a norm, of which no part is a constant."""
    if attention.o_proj.bias is not None:
        raise KCircuitsError(
            "a bias of the attention's output before a norm is not supported: attention_bias=true"
        )


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
        Reads one of the layers.
    norm
        The final norm, where it is not an RMSNorm as it stands.
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
        "max_positions": longest_prompt(config),
    }
    return ModelSpec(**fields | more)
