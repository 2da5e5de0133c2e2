"""The reference forward: what the compiled engine computes, in plain PyTorch, slow and obvious.

Three runs of the same decoder: `forward` keeps one residual stream as every Transformer does,
`forward_senders` also returns what each node writes into it, and `masked_forward` gives every receiver a
stream of its own, made of the senders that a circuit connects to it. All of them are differentiable and
work on left- or right-padded prompts: padding changes no number at a real position (what they return at
padded positions is finite and means nothing).

Sizes: N prompts, T tokens, D width, H query heads, K key/value heads of width d, S senders, R receivers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kcircuits.model.spec import Attention, Mlp, ModelSpec, Norm, Rotary


@dataclass(frozen=True)
class SenderRun:
    """A plain run taken apart.

    `senders` [S, N, T, D] in the order of `Graph.senders`: each node's output, heads without the bias b_O;
    `streams`: for each receiver in the order of `Graph.receivers` the residual stream [N, T, D] that it
    reads, before its norm (receivers of one layer share the tensor); `logits` [N, T, V].
    """

    senders: Tensor
    streams: tuple[Tensor, ...]
    logits: Tensor


def forward(spec: ModelSpec, tokens: Tensor, mask: Tensor) -> Tensor:
    """Logits [N, T, V] of prompts `tokens` int64 [N, T]; `mask` bool [N, T] is True at real tokens."""
    return forward_senders(spec, tokens, mask).logits


def forward_senders(spec: ModelSpec, tokens: Tensor, mask: Tensor) -> SenderRun:
    """The plain run with every sender's output and every receiver's stream; arguments as in `forward`."""
    positions = position_ids(mask)
    x = embed(spec, tokens, positions)
    senders, streams = [x], []
    for layer in spec.layers:
        attention = layer.attention
        streams += [x] * (spec.num_heads + 2 * spec.num_kv_heads)
        normed = normalise(layer.attention_norm, x)
        q = split_heads(
            functional.linear(normed, attention.w_q, attention.b_q), spec.head_dim
        )  # [N, H, T, d]
        k = split_heads(
            functional.linear(normed, attention.w_k, attention.b_k), spec.head_dim
        )  # [N, K, T, d]
        v = split_heads(
            functional.linear(normed, attention.w_v, attention.b_v), spec.head_dim
        )  # [N, K, T, d]
        heads = attention_outputs(attention, q, k, v, positions, mask)  # [H, N, T, D]
        senders += heads.unbind()
        x = x + heads.sum(dim=0)
        if attention.b_o is not None:
            x = x + attention.b_o
        streams.append(x)
        mlp_output = run_mlp(layer.mlp, normalise(layer.mlp_norm, x))
        senders.append(mlp_output)
        x = x + mlp_output
    streams.append(x)
    return SenderRun(torch.stack(senders), tuple(streams), unembed(spec, x))


def masked_forward(
    spec: ModelSpec, tokens: Tensor, mask: Tensor, edges: Tensor, ablated: Tensor | None = None
) -> Tensor:
    """Logits of the masked run of a circuit (ACDC, arXiv 2304.14997).

    Receiver r reads Σ_{s→r present} a_s + Σ_{s→r absent} ã_s + Σ b_O of the attention blocks before it,
    through its own norm and projection; a_s is what sender s outputs in this very run.

    Parameters
    ----------
    spec, tokens, mask
        As in `forward`.
    edges
        [S, R] in the order of the graph's senders and receivers, the present edges: bool, or floating
        weights in [0, 1] that blend a_s and ã_s. Pairs that are no edges of the graph are ignored.
    ablated
        ã [S, N, T, D] (sizes of 1 are broadcast): what an absent edge carries. None is zero ablation.

    Returns
    -------
    Logits [N, T, V].
    """
    graph = spec.graph
    positions = position_ids(mask)
    senders = [embed(spec, tokens, positions)]
    constant = torch.zeros_like(senders[0])  # Σ b_O so far: part of every stream, never ablated
    weights = edges.to(constant.dtype)

    def streams_of(receivers: list[str]) -> Tensor:
        """The streams [r, N, T, D] of receivers that read all senders computed so far."""
        present = weights[: len(senders), [graph.receiver_index(name) for name in receivers]]
        streams = constant + torch.einsum("sr,sntd->rntd", present, torch.stack(senders))
        if ablated is not None:
            absent = ablated[: len(senders)].expand(-1, *constant.shape)
            streams = streams + torch.einsum("sr,sntd->rntd", 1 - present, absent)
        return streams

    def project(prefix: str, kind: str, norm: Norm, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Queries, keys or values [N, heads, T, d], each head from its own normed stream."""
        per_head = weight.unflatten(0, (-1, spec.head_dim))  # [heads, d, D]
        streams = streams_of([f"{prefix}.h{head}<{kind}>" for head in range(len(per_head))])
        projected = torch.einsum("hntD,hdD->nhtd", normalise(norm, streams), per_head)
        return projected if bias is None else projected + bias.view(-1, 1, spec.head_dim)

    for index, layer in enumerate(spec.layers):
        attention, norm = layer.attention, layer.attention_norm
        q = project(f"a{index}", "q", norm, attention.w_q, attention.b_q)
        k = project(f"a{index}", "k", norm, attention.w_k, attention.b_k)
        v = project(f"a{index}", "v", norm, attention.w_v, attention.b_v)
        senders += attention_outputs(attention, q, k, v, positions, mask).unbind()
        if attention.b_o is not None:
            constant = constant + attention.b_o
        (stream,) = streams_of([f"m{index}"])
        senders.append(run_mlp(layer.mlp, normalise(layer.mlp_norm, stream)))
    (stream,) = streams_of(["logits"])
    return unembed(spec, stream)


def position_ids(mask: Tensor) -> Tensor:
    """Positions int64 [N, T]: real tokens count from 0, wherever the padding is."""
    return (mask.long().cumsum(dim=-1) - 1).clamp(min=0)


def embed(spec: ModelSpec, tokens: Tensor, positions: Tensor) -> Tensor:
    """The sender `input` [N, T, D]: token embedding, plus learned position embedding."""
    x = spec.embedding[tokens]
    return x if spec.positions is None else x + spec.positions[positions]


def normalise(norm: Norm, x: Tensor) -> Tensor:
    """LayerNorm or RMSNorm over the last dimension, in float32 at least."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if norm.kind == "layernorm":
        wide = wide - wide.mean(dim=-1, keepdim=True)
    x = (wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + norm.eps)).to(x.dtype)
    if norm.weight is not None:
        x = x * norm.weight
    return x if norm.bias is None else x + norm.bias


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """[N, T, heads * d] -> [N, heads, T, d]."""
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def attention_outputs(
    attention: Attention, q: Tensor, k: Tensor, v: Tensor, positions: Tensor, mask: Tensor
) -> Tensor:
    """What each query head writes, [H, N, T, D], from q [N, H, T, d] and k, v [N, K, T, d], without b_O."""
    if attention.rotary is not None:
        q, k = rotate(attention.rotary, q, positions), rotate(attention.rotary, k, positions)
    num_heads, length = q.shape[1], q.shape[2]
    group = num_heads // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)  # [N, H, T, d]
    causal = torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
    # Every position sees itself: a padded one would have nothing to attend to, and NaN would spread.
    visible = (causal & mask[:, None, :]) | torch.eye(length, dtype=torch.bool, device=q.device)  # [N, T, T]
    logits = (q @ k.transpose(-1, -2)) * attention.scale
    logits = logits.masked_fill(~visible[:, None], float("-inf"))
    wide = torch.promote_types(logits.dtype, torch.float32)
    probabilities = logits.softmax(dim=-1, dtype=wide).to(q.dtype)  # [N, H, T, T]
    w_o = attention.w_o.unflatten(-1, (num_heads, -1))  # [D, H, d]
    return torch.einsum("nhtd,Dhd->hntD", probabilities @ v, w_o)


def rotate(rotary: Rotary, x: Tensor, positions: Tensor) -> Tensor:
    """Rotate the first dimensions of each head of x [N, heads, T, d] by the angles of its position."""
    wide = torch.promote_types(x.dtype, torch.float32)
    angles = positions[:, None, :, None].to(wide) * rotary.inv_freq  # [N, 1, T, rotary_dim / 2]
    cos, sin = (angles.cos() * rotary.scale).to(x.dtype), (angles.sin() * rotary.scale).to(x.dtype)
    half = rotary.inv_freq.shape[0]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)


def run_mlp(mlp: Mlp, x: Tensor) -> Tensor:
    """The MLP's output, bias included, for normed x [..., D]."""
    up = functional.linear(x, mlp.w_up, mlp.b_up)
    if mlp.w_gate is None:
        hidden = activate(mlp.activation, up)
    else:
        hidden = activate(mlp.activation, functional.linear(x, mlp.w_gate, mlp.b_gate)) * up
    return functional.linear(hidden, mlp.w_down, mlp.b_down)


def activate(name: str, x: Tensor) -> Tensor:
    """Apply the activation that `Mlp.activation` names."""
    match name:
        case "silu":
            return functional.silu(x)
        case "gelu":
            return functional.gelu(x)
        case "gelu_tanh":
            return functional.gelu(x, approximate="tanh")
        case "relu":
            return functional.relu(x)
    raise AssertionError(f"unknown activation {name!r}")


def unembed(spec: ModelSpec, x: Tensor) -> Tensor:
    """Logits [..., V] of a final residual stream x [..., D]: final norm, then unembedding."""
    return functional.linear(normalise(spec.final_norm, x), spec.unembedding, spec.unembedding_bias)
