"""A model of two layers whose heads are known: one copies the subject's attribute, one writes the class."""

from __future__ import annotations

import torch
from torch import Tensor

from kcircuits.data.prompts import Prompt
from kcircuits.model.spec import Attention, Layer, Mlp, ModelSpec, Norm

# Features of the stream: what a token is, its attribute or class, and what the unembedding reads.
FEATURES = ("is subject", "is relation", "attribute 0", "attribute 1", "class", "out 0", "out 1", "out class")
TOKENS = ("filler", "subject 0", "subject 1", "relation", "answer 0", "answer 1", "other of the class")
MOVER, RELATION_HEAD, MIXTURE, SUPPRESSOR = "a0.h0", "a0.h1", "a1.h0", "a1.h1"
SHARP = 40.0  # attention is all on what a head looks for


def one_hot(*names: str) -> Tensor:
    row = torch.zeros(len(FEATURES))
    for name in names:
        row[FEATURES.index(name)] = 1.0
    return row


def attention(heads: list[dict[str, str | float]]) -> Attention:
    """Heads of width 3 that look for a feature (or everywhere) and carry attributes and class outwards."""
    width = 3
    query, key, value, out = [], [], [], []
    for head in heads:
        query.append(torch.tensor([SHARP, 0.0, 0.0]))
        looks = head["looks"]
        key.append(torch.stack([one_hot(str(looks)) if looks else torch.zeros(8), *torch.zeros(2, 8)]))
        carried = ("attribute 0", "attribute 1", "class")
        value.append(torch.stack([one_hot(name) for name in carried]))
        outward = ("out 0", "out 1", "out class")
        out.append(torch.stack([one_hot(name) for name in outward]) * float(head["gain"]))
    return Attention(
        w_q=torch.zeros(width * len(heads), 8),
        w_k=torch.cat(key),
        w_v=torch.cat(value),
        w_o=torch.cat(out).t().contiguous(),
        scale=1.0,
        b_q=torch.cat(query),
    )


def planted_spec() -> ModelSpec:
    none = Norm("none")
    embedding = torch.stack(
        [
            torch.zeros(8),
            one_hot("is subject", "attribute 0"),
            one_hot("is subject", "attribute 1"),
            one_hot("is relation", "class"),
            *torch.zeros(3, 8),
        ]
    )
    unembedding = torch.stack(
        [
            *torch.zeros(4, 8),
            one_hot("out 0", "out class"),
            one_hot("out 1", "out class"),
            one_hot("out class"),
        ]
    )
    silent = Mlp("relu", torch.zeros(1, 8), torch.zeros(8, 1))
    layers = (
        [{"looks": "is subject", "gain": 4.0}, {"looks": "is relation", "gain": 3.0}],
        [{"looks": "", "gain": 1.0}, {"looks": "is subject", "gain": -0.5}],
    )
    return ModelSpec(
        family="planted",
        num_heads=2,
        num_kv_heads=2,
        head_dim=3,
        embedding=embedding,
        layers=tuple(Layer(none, attention(heads), none, silent) for heads in layers),
        final_norm=none,
        unembedding=unembedding,
        max_positions=16,
    )


def planted_prompts() -> tuple[Prompt, ...]:
    """Filler, subject, relation, filler: the answer is the subject's."""
    return tuple(
        Prompt((0, 1 + which, 3, 0), 4 + which, wrong_id=5 - which, subject=(1, 2)) for which in (0, 1)
    )
