"""The family-independent specification of a decoder; all computation reads only this.

Weights are referenced, never copied: a tensor here is the Hugging Face parameter itself or a view of it.
Linear weights have the shape [out, in], as for `torch.nn.functional.linear`. A `Weight` may also be stored as
low-bit codes (`kcircuits.model.quantised`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.model.quantised import Weight


def check_choice(what: str, given: str, known: tuple[str, ...]) -> None:
    """Raise KCircuitsError if a value is not one of the known ones."""
    if given not in known:
        raise KCircuitsError(f"{what}: expected one of {', '.join(known)}, got {given!r}")


@dataclass(frozen=True)
class Norm:
    """LayerNorm or RMSNorm over the last dimension, or "none", the identity.

    `weight` and `bias` are [D] (or the size of the normed dimension) or None.
    """

    kind: Literal["layernorm", "rmsnorm", "none"]
    eps: float = 0.0
    weight: Tensor | None = None
    bias: Tensor | None = None

    def __post_init__(self) -> None:
        check_choice("norm", self.kind, ("layernorm", "rmsnorm", "none"))


@dataclass(frozen=True)
class Rotary:
    """Rotary position embedding.

    Angle of pair i at position p is `p * inv_freq[i]`; inv_freq is float32 [rotary_dim / 2]; element i
    of the first half of the rotated dimensions pairs with element i of the second half. cos and sin are
    multiplied by `scale`.
    """

    inv_freq: Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class Attention:
    """Grouped-query attention: H query heads, K key/value heads of width d.

    w_q [H*d, D], w_k and w_v [K*d, D], w_o [D, H*d]; biases b_q [H*d], b_k and b_v [K*d], b_o [D] or
    None. `scale` multiplies q·k.

    q_norm, k_norm: before the rotation, over each head's d; or, with `joint_norms`, over all heads together.
    window: number of keys that a query attends to, counted back from itself; None for all.
    soft_cap: c tanh(logits / c) before the softmax, or None.
    sinks: [H], an extra softmax logit per head, without a value, or None.
    """

    w_q: Weight
    w_k: Weight
    w_v: Weight
    w_o: Weight
    scale: float
    b_q: Tensor | None = None
    b_k: Tensor | None = None
    b_v: Tensor | None = None
    b_o: Tensor | None = None
    rotary: Rotary | None = None
    q_norm: Norm | None = None
    k_norm: Norm | None = None
    joint_norms: bool = False
    window: int | None = None
    soft_cap: float | None = None
    sinks: Tensor | None = None


@dataclass(frozen=True)
class Mlp:
    """Plain (`w_gate` is None) or gated MLP: w_down(act(w_gate x) * (w_up x + up_offset)).

    w_up and w_gate [F, D], w_down [D, F]; biases [F], [F], [D] or None. With a `limit`, w_gate x is clamped
    from above, and w_up x on both sides.
    """

    activation: Literal["silu", "gelu", "gelu_tanh", "relu", "quick_gelu"]
    w_up: Weight
    w_down: Weight
    w_gate: Weight | None = None
    b_up: Tensor | None = None
    b_gate: Tensor | None = None
    b_down: Tensor | None = None
    limit: float | None = None
    up_offset: float = 0.0

    def __post_init__(self) -> None:
        check_choice("activation", self.activation, ("silu", "gelu", "gelu_tanh", "relu", "quick_gelu"))


@dataclass(frozen=True)
class Experts:
    """A mixture of experts, treated as one node: Σ weight_e(x) expert_e(x) over the top experts of each row.

    router [E, D] and router_bias [E] or None give the logits. The weights are the `top_k` largest values of
    their softmax over all experts, divided by their sum if `normalise` is true.
    """

    router: Tensor
    top_k: int
    normalise: bool
    experts: tuple[Mlp, ...]
    router_bias: Tensor | None = None


@dataclass(frozen=True)
class Layer:
    """One block: x += post(attention(attention_norm(x))); x += post(mlp(mlp_norm(x))).

    In a parallel block both read the same x. A norm after the attention applies to the sum of its heads; the
    output of a head is its own term multiplied by this common scale. With such a norm, or with one norm for
    the queries of all heads, the output of a head depends on all heads of its layer in the same run.
    """

    attention_norm: Norm
    attention: Attention
    mlp_norm: Norm
    mlp: Mlp | Experts
    attention_post_norm: Norm | None = None
    mlp_post_norm: Norm | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A whole decoder.

    embedding and unembedding [V, D] (the same tensor if they are tied); `embedding_scale` multiplies the
    token embeddings; `positions` [n, D] are learned position embeddings or None; `max_positions` bounds the
    prompt length. `ablate_positions`: whether ablating `input` removes the position embedding together with
    the token embedding. `parallel`: attention and MLP of a block read the same stream. `logit_soft_cap`:
    logits are c tanh(logits / c), or None.
    """

    family: str
    num_heads: int
    num_kv_heads: int
    head_dim: int
    embedding: Weight
    layers: tuple[Layer, ...]
    final_norm: Norm
    unembedding: Weight
    max_positions: int
    positions: Tensor | None = None
    unembedding_bias: Tensor | None = None
    ablate_positions: bool = True
    parallel: bool = False
    embedding_scale: float = 1.0
    logit_soft_cap: float | None = None

    @property
    def width(self) -> int:
        """Width D of the residual stream."""
        return self.embedding.shape[1]

    @property
    def activation_bytes(self) -> int:
        """Bytes of one number of an activation: float64 in a float64 model, float32 in any other."""
        return max(4, self.embedding.dtype.itemsize)

    @property
    def vocab_size(self) -> int:
        """Number of rows V of the unembedding."""
        return self.unembedding.shape[0]

    @cached_property
    def graph(self) -> Graph:
        """The residual-stream graph of this model."""
        return Graph(len(self.layers), self.num_heads, self.num_kv_heads, self.parallel)


def map_leaves(part: Any, kind: Any, change: Callable[[Any, str], Any], field: str = "") -> Any:
    """Apply a function to every leaf of a type in a specification or a part of one.

    Parameters
    ----------
    part
        A `ModelSpec` or anything in one.
    kind
        The type of the leaves, as `isinstance` takes it.
    change
        Function of a leaf and the name of its field.
    """
    if isinstance(part, kind):
        return change(part, field)
    if isinstance(part, tuple):
        return tuple(map_leaves(item, kind, change, field) for item in part)
    if is_dataclass(part) and not isinstance(part, type):
        parts = {one.name: getattr(part, one.name) for one in fields(part)}
        return replace(part, **{name: map_leaves(old, kind, change, name) for name, old in parts.items()})
    return part
