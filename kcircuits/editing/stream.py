"""The residual stream of a plain run, layer by layer. It can start at any layer and is differentiable.

Editing methods run the layers below an edited layer once and those above it many times. Sizes: N prompts, T
tokens (padded on either side), D the width, F the width of an MLP.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kcircuits.model.forward import (
    attention_outputs,
    embed,
    head_values,
    linear,
    mlp_hidden,
    mlp_outputs,
    normalise,
    position_ids,
    split_heads,
)
from kcircuits.model.spec import Experts, Layer, Mlp, ModelSpec


@dataclass(frozen=True)
class Tokens:
    """Padded prompts: `ids` int64 [N, T], `mask` bool [N, T], True at real tokens."""

    ids: Tensor
    mask: Tensor

    @property
    def positions(self) -> Tensor:
        """Position of every token, int64 [N, T]."""
        return position_ids(self.mask)


@dataclass(frozen=True)
class BeforeMlp:
    """State of a run at the MLP of a layer.

    `stream` [N, T, D] is the stream without the MLP's output, `hidden` [N, T, F] the input of its w_down.
    """

    stream: Tensor
    hidden: Tensor


@dataclass(frozen=True)
class KeyValueCache:
    """Keys and values [N, K, T - M, d] of the first T - M positions, for each layer from `first` on.

    Later positions do not affect them, so the last M positions can be run alone.
    """

    first: int
    of_layers: tuple[tuple[Tensor, Tensor], ...]


def pad_right(prompts: list[tuple[int, ...]], device: torch.device | str = "cpu") -> Tokens:
    """Prompts of different lengths, padded on the right."""
    longest = max(map(len, prompts))
    ids = torch.tensor([prompt + (0,) * (longest - len(prompt)) for prompt in prompts], device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    return Tokens(ids, torch.arange(longest, device=device) < lengths[:, None])


def pad_left(tokens: Tokens) -> Tokens:
    """The same prompts padded on the left, so that all end at the last position."""
    shift = (~tokens.mask).sum(dim=1, keepdim=True)  # [N, 1]
    places = torch.arange(tokens.ids.shape[1], device=tokens.ids.device) - shift
    return Tokens(tokens.ids.gather(1, places.clamp(min=0)), places >= 0)


def run_to_layer(spec: ModelSpec, tokens: Tokens, layer: int) -> Tensor:
    """Run prompts from their tokens to the stream [N, T, D] that enters a layer."""
    return run_layers(spec, embed(spec, tokens.ids, tokens.positions), tokens, 0, layer)


def run_to_mlp(spec: ModelSpec, tokens: Tokens, layer: int) -> BeforeMlp:
    """Run prompts from their tokens to the MLP of a layer."""
    return enter_mlp(spec, run_to_layer(spec, tokens, layer), tokens, layer)


def enter_mlp(spec: ModelSpec, x: Tensor, tokens: Tokens, layer: int) -> BeforeMlp:
    """Run a stream [N, T, D] that enters a layer to the layer's MLP."""
    last = spec.layers[layer]
    written, _ = _attention(spec, last, x, tokens)
    after = x + written
    read = x if spec.parallel else after
    return BeforeMlp(after, mlp_hidden(dense_mlp(last), normalise(last.mlp_norm, read)))


def finish_layer(spec: ModelSpec, before: BeforeMlp, layer: int, added: Tensor | None = None) -> Tensor:
    """The stream [N, T, D] after the layer; `added` [N, T, D] is added to the output of w_down."""
    each = spec.layers[layer]
    mlp = dense_mlp(each)
    written = linear(before.hidden, mlp.w_down, mlp.b_down)
    if added is not None:
        written = written + added
    if each.mlp_post_norm is not None:
        written = normalise(each.mlp_post_norm, written)
    return before.stream + written


def run_layers(spec: ModelSpec, x: Tensor, tokens: Tokens, first: int, end: int) -> Tensor:
    """Run a stream [N, T, D] that enters layer `first` to the input of layer `end`."""
    for each in spec.layers[first:end]:
        x, _ = _run_layer(spec, each, x, tokens)
    return x


def run_to_end(spec: ModelSpec, x: Tensor, tokens: Tokens, first: int) -> Tensor:
    """Run a stream that enters layer `first` through all layers and the final norm, [N, T, D]."""
    return normalise(spec.final_norm, run_layers(spec, x, tokens, first, len(spec.layers)))


@torch.no_grad()
def cache_positions(spec: ModelSpec, x: Tensor, tokens: Tokens, first: int, count: int) -> KeyValueCache:
    """Keys and values of the first `count` positions of a stream [N, T, D] that enters layer `first`."""
    kept = []
    for layer in spec.layers[first:]:
        x, (k, v) = _run_layer(spec, layer, x, tokens)
        kept.append((k[:, :, :count], v[:, :, :count]))
    return KeyValueCache(first, tuple(kept))


def run_tail_to_end(
    spec: ModelSpec, x: Tensor, tokens: Tokens, before: KeyValueCache
) -> tuple[Tensor, KeyValueCache]:
    """`run_to_end` for the last M positions only, from their stream [N, M, D].

    Returns their rows after the final norm [N, M, D], and keys and values of all T positions.
    """
    kept = []
    for layer, of_layer in zip(spec.layers[before.first :], before.of_layers, strict=True):
        x, together = _run_layer(spec, layer, x, tokens, of_layer)
        kept.append(together)
    return normalise(spec.final_norm, x), KeyValueCache(before.first, tuple(kept))


def empty_cache(spec: ModelSpec, count: int) -> KeyValueCache:
    """The cache before the first position of `count` prompts."""
    none = spec.embedding[:0].new_zeros(count, spec.num_kv_heads, 0, spec.head_dim)
    return KeyValueCache(0, tuple((none, none) for _ in spec.layers))


def final_rows(spec: ModelSpec, tokens: Tokens) -> Tensor:
    """Rows after the final norm [N, T, D] of whole runs."""
    return run_to_end(spec, run_to_layer(spec, tokens, 0), tokens, 0)


def dense_mlp(layer: Layer) -> Mlp:
    """The layer's MLP, which must not be a mixture of experts."""
    assert not isinstance(layer.mlp, Experts)
    return layer.mlp


def _run_layer(
    spec: ModelSpec, layer: Layer, x: Tensor, tokens: Tokens, before: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run the last positions [N, M, D] through a layer. Also returns keys and values of all T positions."""
    written, kept = _attention(spec, layer, x, tokens, before)
    after = x + written
    read = x if spec.parallel else after
    return after + mlp_outputs(layer, normalise(layer.mlp_norm, read)), kept


def _attention(
    spec: ModelSpec, layer: Layer, x: Tensor, tokens: Tokens, before: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Output of all heads with bias, [N, M, D], and all keys and values; `before` has the earlier ones."""
    attention, normed = layer.attention, normalise(layer.attention_norm, x)
    q = split_heads(linear(normed, attention.w_q, attention.b_q), spec.head_dim)
    k = split_heads(linear(normed, attention.w_k, attention.b_k), spec.head_dim)
    v = split_heads(linear(normed, attention.w_v, attention.b_v), spec.head_dim)
    if before is not None:
        k, v = torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)
    if layer.attention_post_norm is not None:
        written = attention_outputs(layer, q, k, v, tokens.positions, tokens.mask).sum(dim=0)
        return (written if attention.b_o is None else written + attention.b_o), (k, v)
    z = head_values(attention, q, k, v, tokens.positions, tokens.mask)
    return linear(z.transpose(1, 2).flatten(2), attention.w_o, attention.b_o), (k, v)
