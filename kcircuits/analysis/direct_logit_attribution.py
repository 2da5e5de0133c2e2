"""Direct logit attribution: what each node adds to a token's logit through the final norm alone.

The norm's scale is that of the whole stream, so the contributions add up. Logits are relative to their mean
over the vocabulary, which no prediction depends on, and taken before a soft cap, after which they would not
add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kcircuits.analysis.prepare import check_finite, plain_engines
from kcircuits.data.prompts import Prompt
from kcircuits.model.spec import ModelSpec, Norm

_BLOCK_ROWS = 4096  # of the unembedding, widened at a time


@dataclass(frozen=True)
class Unembedding:
    """The unembedding relative to its mean over the vocabulary."""

    spec: ModelSpec
    mean: Tensor  # float64 [D]
    mean_bias: float

    @classmethod
    def from_spec(cls, spec: ModelSpec) -> Unembedding:
        """Compute the mean block by block."""
        total = torch.zeros(spec.width, dtype=torch.float64, device=spec.unembedding.device)
        for start in range(0, spec.vocab_size, _BLOCK_ROWS):
            total += spec.unembedding[start : start + _BLOCK_ROWS].sum(dim=0, dtype=torch.float64)
        bias = spec.unembedding_bias
        return cls(spec, total / spec.vocab_size, 0.0 if bias is None else bias.double().mean().item())

    def rows(self, tokens: Tensor) -> Tensor:
        """The rows of tokens int64 [n] relative to the mean, float64 [n, D]."""
        return self.spec.unembedding[tokens.to(self.mean.device)].double() - self.mean

    def biases(self, tokens: Tensor) -> Tensor:
        """Their biases relative to the mean, float64 [n]."""
        bias = self.spec.unembedding_bias
        if bias is None:
            return self.mean.new_zeros(len(tokens))
        return bias[tokens.to(bias.device)].double() - self.mean_bias


def norm_scale(norm: Norm, streams: Tensor) -> Tensor:
    """The scale 1 / deviation of a norm for streams [..., D], float64 [...]; 1 without a norm."""
    x = streams.double()
    if norm.kind == "none":
        return torch.ones_like(x[..., 0])
    if norm.kind == "layernorm":
        x = x - x.mean(dim=-1, keepdim=True)
    return torch.rsqrt(x.square().mean(dim=-1) + norm.eps)


def fold_norm(norm: Norm, vectors: Tensor, scale: Tensor) -> Tensor:
    """Pull vectors back through a norm: a part of the stream adds part · result to the products after it.

    Parameters
    ----------
    norm
        The norm. Its bias does not belong to any part.
    vectors
        float64 [n, D].
    scale
        Scale of the whole streams (`norm_scale`), float64 [n].

    Returns
    -------
    float64 [n, D].
    """
    if norm.weight is not None:
        vectors = vectors * norm.weight.double()
    if norm.kind == "layernorm":
        vectors = vectors - vectors.mean(dim=-1, keepdim=True)
    return vectors * scale[:, None]


def constant_logits(unembedding: Unembedding, tokens: Tensor) -> Tensor:
    """What the biases of the final norm and the unembedding add to tokens' logits, float64 [n]."""
    norm = unembedding.spec.final_norm
    logits = unembedding.biases(tokens)
    return logits if norm.bias is None else logits + unembedding.rows(tokens) @ norm.bias.double()


def bias_logits(spec: ModelSpec, directions: Tensor) -> Tensor:
    """What the attention output biases add to products with directions [n, D], float64 [n]."""
    logits = directions.new_zeros(len(directions))
    for layer in spec.layers:
        if layer.attention.b_o is not None:
            logits = logits + directions @ layer.attention.b_o.to(directions)
    return logits


def final_streams(spec: ModelSpec, senders: Tensor) -> Tensor:
    """The streams before the final norm, [n, D], from all senders [S, n, D]."""
    streams = senders.sum(dim=0)
    for layer in spec.layers:
        if layer.attention.b_o is not None:
            streams = streams + layer.attention.b_o.to(streams)
    return streams


@dataclass(frozen=True)
class DirectLogits:
    """What each sender adds to a token's logit at each prompt's last position.

    Parameters
    ----------
    logit
        Contributions of senders, float64 [S, N].
    constant
        Contribution of biases that belong to no node, float64 [N].
    """

    logit: np.ndarray
    constant: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """The token's logit relative to the mean over the vocabulary, [N]."""
        total: np.ndarray = self.logit.sum(axis=0) + self.constant
        return total


def direct_logits(
    spec: ModelSpec, prompts: Sequence[Prompt], tokens: Sequence[int], memory: int
) -> DirectLogits:
    """Attribute the logit of a token at each prompt's last position to all senders.

    Parameters
    ----------
    spec, prompts
        The model, and N prompts.
    tokens
        One token for each prompt, such as the answer.
    memory
        Bytes for activations.

    Raises
    ------
    KCircuitsError
        If a prompt does not fit the model, or the numbers overflow.
    """
    unembedding = Unembedding.from_spec(spec)
    logits, constants = [], []
    wanted = torch.tensor(list(tokens))
    for engine, first in plain_engines(spec, prompts, memory):
        last = torch.tensor(engine.starts[1:]) - 1
        senders = engine.senders()[:, last].to(spec.unembedding.device)
        ids = wanted[first : first + engine.num_prompts]
        scale = norm_scale(spec.final_norm, final_streams(spec, senders))
        directions = fold_norm(spec.final_norm, unembedding.rows(ids), scale)
        logits.append(torch.einsum("snd,nd->sn", senders.double(), directions).cpu())
        constants.append((constant_logits(unembedding, ids) + bias_logits(spec, directions)).cpu())
    logit, constant = torch.cat(logits, dim=1), torch.cat(constants)
    check_finite("a node's logit", logit, constant)
    return DirectLogits(logit.numpy(), constant.numpy())
