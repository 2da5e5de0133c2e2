"""Outputs of nodes read through the unembedding: many nodes at many positions in one streaming product."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kcircuits.analysis.direct_logit_attribution import (
    Unembedding,
    bias_logits,
    constant_logits,
    final_streams,
    fold_norm,
    norm_scale,
)
from kcircuits.model.quantised import dense
from kcircuits.ops import vocab_readout

BLOCK_BYTES = 64 * 2**20
"""Bytes of rows that are read together, if they have to be copied."""


class NodeReadout(NamedTuple):
    """Readout of K nodes at n places, with the norm's scale of the whole stream at each place."""

    logit: Tensor  # float64 [K, n], of the place's target, relative to the mean over the vocabulary
    rank: Tensor  # int64 [K, n], of the target in the node's output; 1 is the most likely
    top_ids: Tensor  # int64 [K, n, top]
    top_logits: Tensor  # float64 [K, n, top], relative to the mean
    constant: Tensor  # float64 [n], contribution of biases that belong to no node
    total: Tensor  # float64 [n], the target's logit relative to the mean


def read_nodes(
    unembedding: Unembedding, senders: Tensor, nodes: Tensor, targets: Tensor, top: int
) -> NodeReadout:
    """Read the outputs of nodes at n places as if each were the whole stream.

    The norm's scale is that of the whole stream. The biases of the norm and the unembedding belong to no
    node. So the logits of all senders and `constant` add up to `total`.

    Parameters
    ----------
    unembedding
        The model's unembedding.
    senders
        The outputs of all senders at the places, [S, n, D].
    nodes
        The senders to read, int64 [K].
    targets
        The token of each place, int64 [n].
    top
        Number of tokens to list for each node: those that it promotes most.
    """
    spec = unembedding.spec
    norm = spec.final_norm
    streams = final_streams(spec, senders)
    scale = norm_scale(norm, streams)  # [n]
    directions = fold_norm(norm, unembedding.rows(targets), scale)
    mean = fold_norm(norm, unembedding.mean.expand(len(targets), -1), scale)
    vocabulary = dense(spec.unembedding)
    size = max(1, BLOCK_BYTES // max(1, senders[0].nbytes))
    parts = []
    for block in nodes.split(size):
        # Consecutive nodes, and so all nodes, are a view.
        first, last = int(block[0]), int(block[-1])
        whole = len(block) == last - first + 1 and bool((block.diff() == 1).all())
        rows = senders[first : last + 1] if whole else senders[block]
        read = vocab_readout(
            rows.flatten(0, 1),
            vocabulary,
            targets.to(rows.device).repeat(len(block)),
            topk=top,
            norm=norm.kind,
            weight=norm.weight,
            eps=norm.eps,
            scale=None if norm.kind == "none" else scale.to(rows.dtype).repeat(len(block)),
        )
        shape = rows.shape[:2]
        means = torch.einsum("knd,nd->kn", rows, mean.to(rows.dtype)).double()
        parts.append(
            (
                read.target_logits.double().view(shape) - means,
                read.ranks.view(shape),
                read.topk_ids.view(*shape, top),
                read.topk_values.double().view(*shape, top) - means[..., None],
            )
        )
    own = constant_logits(unembedding, targets)
    constant = own + bias_logits(spec, directions)
    total = own + (streams.double() * directions).sum(dim=-1)
    logit, rank, top_ids, top_logits = (torch.cat(each) for each in zip(*parts, strict=True))
    return NodeReadout(logit, rank, top_ids, top_logits, constant, total)
