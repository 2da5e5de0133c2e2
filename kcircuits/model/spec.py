"""A decoder described once, without a family's name in it: everything that computes reads only this.

Weights are referenced, never copied: a tensor here is the Hugging Face parameter itself or a view of it.
Linear weights are oriented [out, in], as `torch.nn.functional.linear` takes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from kcircuits.graph import Graph


@dataclass(frozen=True)
class Norm:
    """LayerNorm or RMSNorm over the last dimension.

    `weight` and `bias` are [D] or None.
    """

    kind: Literal["layernorm", "rmsnorm"]
    eps: float
    weight: Tensor | None = None
    bias: Tensor | None = None


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
    """

    w_q: Tensor
    w_k: Tensor
    w_v: Tensor
    w_o: Tensor
    scale: float
    b_q: Tensor | None = None
    b_k: Tensor | None = None
    b_v: Tensor | None = None
    b_o: Tensor | None = None
    rotary: Rotary | None = None


@dataclass(frozen=True)
class Mlp:
    """Plain (`w_gate` is None) or gated MLP: w_down(act(w_gate x) * w_up x).

    w_up and w_gate [F, D], w_down [D, F]; biases [F], [F], [D] or None.
    """

    activation: Literal["silu", "gelu", "gelu_tanh", "relu"]
    w_up: Tensor
    w_down: Tensor
    w_gate: Tensor | None = None
    b_up: Tensor | None = None
    b_gate: Tensor | None = None
    b_down: Tensor | None = None


@dataclass(frozen=True)
class Layer:
    """One block: x += attention(attention_norm(x)); x += mlp(mlp_norm(x))."""

    attention_norm: Norm
    attention: Attention
    mlp_norm: Norm
    mlp: Mlp


@dataclass(frozen=True)
class ModelSpec:
    """A whole decoder.

    embedding and unembedding [V, D] (the same tensor where they are tied); `positions` [n, D] are
    learned position embeddings or None; `max_positions` bounds the prompt length. `ablate_positions`:
    whether ablating `input` takes the position embedding away with the tokens'.
    """

    family: str
    num_heads: int
    num_kv_heads: int
    head_dim: int
    embedding: Tensor
    layers: tuple[Layer, ...]
    final_norm: Norm
    unembedding: Tensor
    max_positions: int
    positions: Tensor | None = None
    unembedding_bias: Tensor | None = None
    ablate_positions: bool = True

    @property
    def width(self) -> int:
        """Width D of the residual stream."""
        return self.embedding.shape[1]

    @property
    def activation_bytes(self) -> int:
        """Bytes of one number of an activation: float64 in a float64 model, float32 in any other."""
        return max(4, self.embedding.element_size())

    @property
    def vocab_size(self) -> int:
        """Number of rows V of the unembedding."""
        return self.unembedding.shape[0]

    @property
    def graph(self) -> Graph:
        """The residual-stream graph of this model."""
        return Graph(len(self.layers), self.num_heads, self.num_kv_heads)
