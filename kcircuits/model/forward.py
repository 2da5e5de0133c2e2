"""The reference forward: the computation of the compiled engine in plain PyTorch, slow and obvious.

There are three runs of the same decoder. `forward` keeps one residual stream, as every Transformer does.
`forward_senders` also returns what each node writes to the stream. `masked_forward` gives every receiver its
own stream, the sum of the senders that a circuit connects to it. All of them are differentiable and work on
left- or right-padded prompts. Padding changes no number at a real position; values at padded positions are
finite but meaningless.

Sizes: N prompts, T tokens, D width, H query heads, K key/value heads of width d, S senders, R receivers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kcircuits.graph import Receiver, ReceiverKind
from kcircuits.model.quantised import Weight, dense, linear
from kcircuits.model.spec import Attention, Experts, Layer, Mlp, ModelSpec, Norm, Rotary


@dataclass(frozen=True)
class SenderRun:
    """A plain run, split into senders and receiver streams.

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
    """Plain run with every sender's output and every receiver's stream; arguments as in `forward`."""
    positions = position_ids(mask)
    x = embed(spec, tokens, positions)
    senders, streams = [x], []
    for layer, shape in zip(spec.layers, spec.graph.layers, strict=True):
        attention = layer.attention
        streams += [x] * shape.num_attention_receivers
        normed = normalise(layer.attention_norm, x)
        q = split_heads(linear(normed, attention.w_q, attention.b_q), spec.head_dim)  # [N, H, T, d]
        k = split_heads(linear(normed, attention.w_k, attention.b_k), spec.head_dim)  # [N, K, T, d]
        v = split_heads(linear(normed, attention.w_v, attention.b_v), spec.head_dim)  # [N, K, T, d]
        heads = attention_outputs(layer, q, k, v, positions, mask)  # [H, N, T, D]
        senders += heads.unbind()
        before = x
        x = x + heads.sum(dim=0)
        if attention.b_o is not None:
            x = x + attention.b_o
        read_by_mlp = before if spec.parallel else x
        streams.append(read_by_mlp)
        mlp_output = mlp_outputs(layer, normalise(layer.mlp_norm, read_by_mlp))
        senders.append(mlp_output)
        x = x + mlp_output
    streams.append(x)
    return SenderRun(torch.stack(senders), tuple(streams), unembed(spec, x))


def masked_forward(
    spec: ModelSpec, tokens: Tensor, mask: Tensor, edges: Tensor, ablated: Tensor | None = None
) -> Tensor:
    """Logits of the masked run of a circuit (ACDC, arXiv 2304.14997).

    Receiver r reads Σ_{s→r present} a_s + Σ_{s→r absent} ã_s + Σ b_O of the attention blocks before it,
    through its own norm and projection; a_s is the output of sender s in this same run.

    Parameters
    ----------
    spec, tokens, mask
        As in `forward`.
    edges
        [S, R] in the order of the graph's senders and receivers, the present edges: bool, or floating
        weights in [0, 1] that blend a_s and ã_s. Pairs without an edge in the graph are ignored.
    ablated
        ã [S, N, T, D] (sizes of 1 are broadcast): the value of an absent edge. None is zero ablation.

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
        """The streams [r, N, T, D] of receivers of one sub-block."""
        count = int(graph.num_senders_of[graph.receiver_index(receivers[0])])
        present = weights[:count, [graph.receiver_index(name) for name in receivers]]
        streams = constant + torch.einsum("sr,sntd->rntd", present, torch.stack(senders[:count]))
        if ablated is not None:
            absent = ablated[:count].expand(-1, *constant.shape)
            streams = streams + torch.einsum("sr,sntd->rntd", 1 - present, absent)
        return streams

    def project(index: int, kind: ReceiverKind, norm: Norm, weight: Weight, bias: Tensor | None) -> Tensor:
        """Queries, keys or values [N, heads, T, d], each head from its own normed stream."""
        per_head = dense(weight).unflatten(0, (-1, spec.head_dim))  # [heads, d, D]
        streams = streams_of([Receiver(kind, index, head).name for head in range(len(per_head))])
        projected = torch.einsum("hntD,hdD->nhtd", normalise(norm, streams), per_head)
        return projected if bias is None else projected + bias.view(-1, 1, spec.head_dim)

    for index, layer in enumerate(spec.layers):
        attention, norm = layer.attention, layer.attention_norm
        q = project(index, "q", norm, attention.w_q, attention.b_q)
        k = project(index, "k", norm, attention.w_k, attention.b_k)
        v = project(index, "v", norm, attention.w_v, attention.b_v)
        senders += attention_outputs(layer, q, k, v, positions, mask).unbind()
        before = constant
        if attention.b_o is not None:
            constant = constant + attention.b_o
        after, constant = constant, before if spec.parallel else constant
        (stream,) = streams_of([Receiver("mlp", index).name])
        constant = after
        senders.append(mlp_outputs(layer, normalise(layer.mlp_norm, stream)))
    (stream,) = streams_of(["logits"])
    return unembed(spec, stream)


def position_ids(mask: Tensor) -> Tensor:
    """Positions int64 [N, T]: real tokens count from 0, wherever the padding is."""
    return (mask.long().cumsum(dim=-1) - 1).clamp(min=0)


def embed(spec: ModelSpec, tokens: Tensor, positions: Tensor) -> Tensor:
    """The sender `input` [N, T, D]: token embedding, plus learned position embedding."""
    x = spec.embedding[tokens] * spec.embedding_scale
    return x if spec.positions is None else x + spec.positions[positions]


def normalise(norm: Norm, x: Tensor) -> Tensor:
    """LayerNorm, RMSNorm or nothing over the last dimension, in float32 or better."""
    if norm.kind == "none":
        return x
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if norm.kind == "layernorm":
        wide = wide - wide.mean(dim=-1, keepdim=True)
    dtype, x = x.dtype, wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + norm.eps)
    if norm.weight is not None:
        x = x * norm.weight
    return (x if norm.bias is None else x + norm.bias).to(dtype)


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """[N, T, heads * d] -> [N, heads, T, d]."""
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def attention_outputs(
    layer: Layer, q: Tensor, k: Tensor, v: Tensor, positions: Tensor, mask: Tensor
) -> Tensor:
    """Output of each query head, [H, N, T, D], from q [N, H, T, d] and k, v [N, K, T, d], without b_O.

    If a norm follows the attention, the output of a head is its own term multiplied by the norm's scale,
    which is computed from the sum of all heads.
    """
    written = head_writes(layer.attention, q, k, v, positions, mask)
    norm = layer.attention_post_norm
    if norm is None:
        return written
    total = written.sum(dim=0)
    share = written * torch.rsqrt(total.square().mean(dim=-1, keepdim=True) + norm.eps)
    return share if norm.weight is None else (share * norm.weight).to(written.dtype)


def head_writes(
    attention: Attention, q: Tensor, k: Tensor, v: Tensor, positions: Tensor, mask: Tensor
) -> Tensor:
    """z W_O of each head, [H, N, T, D]; arguments as in `attention_outputs`."""
    z = head_values(attention, q, k, v, positions, mask)
    w_o = dense(attention.w_o).unflatten(-1, (z.shape[1], -1))  # [D, H, d]
    return torch.einsum("nhtd,Dhd->hntD", z, w_o)


def head_values(
    attention: Attention, q: Tensor, k: Tensor, v: Tensor, positions: Tensor, mask: Tensor
) -> Tensor:
    """z, the attention-weighted values of each head, [N, H, T, d]; arguments as in `attention_outputs`.

    There may be fewer queries than keys; they are then those of the last positions.
    """
    q = norm_heads(attention.q_norm, q, attention.joint_norms)
    k = norm_heads(attention.k_norm, k, attention.joint_norms)
    num_heads, count, length = q.shape[1], q.shape[2], k.shape[2]
    if attention.rotary is not None:
        q = rotate(attention.rotary, q, positions[:, length - count :])
        k = rotate(attention.rotary, k, positions)
    group = num_heads // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)  # [N, H, T, d]
    causal = torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
    # Every position attends to itself; a padded one would otherwise attend to nothing and give NaN.
    visible = (causal & mask[:, None, :]) | torch.eye(length, dtype=torch.bool, device=q.device)  # [N, T, T]
    if attention.window is not None:
        places = torch.arange(length, device=q.device)
        visible &= places[None, :] > places[:, None] - attention.window
    visible = visible[:, length - count :]
    logits = (q @ k.transpose(-1, -2)) * attention.scale
    if attention.soft_cap is not None:
        logits = torch.tanh(logits / attention.soft_cap) * attention.soft_cap
    logits = logits.masked_fill(~visible[:, None], float("-inf"))
    if attention.sinks is not None:
        sink = attention.sinks.view(-1, 1, 1).expand(*logits.shape[:-1], 1)
        logits = torch.cat([logits, sink.to(logits.dtype)], dim=-1)
    wide = torch.promote_types(logits.dtype, torch.float32)
    probabilities = logits.softmax(dim=-1, dtype=wide).to(q.dtype)[..., :length]  # [N, H, T, T]
    return probabilities @ v


def norm_heads(norm: Norm | None, x: Tensor, joint: bool) -> Tensor:
    """Norm queries or keys [N, heads, T, d], per head or over all heads."""
    if norm is None:
        return x
    if not joint:
        return normalise(norm, x)
    together = x.transpose(1, 2)  # [N, T, heads, d]
    return normalise(norm, together.flatten(2)).view_as(together).transpose(1, 2)


def rotate(rotary: Rotary, x: Tensor, positions: Tensor) -> Tensor:
    """Rotate the first dimensions of each head of x [N, heads, T, d] by the angles of its position."""
    wide = torch.promote_types(x.dtype, torch.float32)
    angles = positions[:, None, :, None].to(wide) * rotary.inv_freq  # [N, 1, T, rotary_dim / 2]
    cos, sin = (angles.cos() * rotary.scale).to(x.dtype), (angles.sin() * rotary.scale).to(x.dtype)
    half = rotary.inv_freq.shape[0]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)


def mlp_outputs(layer: Layer, x: Tensor) -> Tensor:
    """Output of the MLP or the experts, bias included, for normed x [..., D]."""
    run = run_experts if isinstance(layer.mlp, Experts) else run_mlp
    written = run(layer.mlp, x)  # type: ignore[arg-type]
    return written if layer.mlp_post_norm is None else normalise(layer.mlp_post_norm, written)


def run_mlp(mlp: Mlp, x: Tensor) -> Tensor:
    """The MLP's output, bias included, for normed x [..., D]."""
    return linear(mlp_hidden(mlp, x), mlp.w_down, mlp.b_down)


def mlp_hidden(mlp: Mlp, x: Tensor) -> Tensor:
    """Input of w_down, [..., F], for normed x [..., D]: the keys of the associative memory in ROME."""
    up = linear(x, mlp.w_up, mlp.b_up)
    if mlp.w_gate is None:
        return activate(mlp.activation, up)
    gate = linear(x, mlp.w_gate, mlp.b_gate)
    if mlp.limit is not None:
        gate, up = gate.clamp(max=mlp.limit), up.clamp(-mlp.limit, mlp.limit)
    return activate(mlp.activation, gate) * (up + mlp.up_offset)


def run_experts(block: Experts, x: Tensor) -> Tensor:
    """Weighted sum of the experts for normed x [..., D]; every expert runs on every row."""
    logits = linear(x, block.router, block.router_bias)  # [..., E]
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weights, chosen = wide.softmax(dim=-1).topk(block.top_k, dim=-1)
    if block.normalise:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    share = torch.zeros_like(logits, dtype=weights.dtype).scatter(-1, chosen, weights).to(x.dtype)
    outputs = torch.stack([run_mlp(expert, x) for expert in block.experts], dim=-1)  # [..., D, E]
    return (outputs * share.unsqueeze(-2)).sum(dim=-1)


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
        case "quick_gelu":
            return x * torch.sigmoid(1.702 * x)
    raise AssertionError(f"unknown activation {name!r}")


def unembed(spec: ModelSpec, x: Tensor) -> Tensor:
    """Logits [..., V] of a final residual stream x [..., D]: final norm, unembedding, soft cap."""
    return read_out(spec, normalise(spec.final_norm, x))


def read_out(spec: ModelSpec, rows: Tensor) -> Tensor:
    """Logits [..., V] of final-normed rows [..., D]."""
    logits = linear(rows, spec.unembedding, spec.unembedding_bias)
    cap = spec.logit_soft_cap
    return logits if cap is None else torch.tanh(logits / cap) * cap
