"""The prompt tokens from which heads move information to the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kcircuits.analysis.direct_logit_attribution import Unembedding, final_streams, fold_norm, norm_scale
from kcircuits.data.prompts import Prompt
from kcircuits.engine import Engine
from kcircuits.model.quantised import dense
from kcircuits.model.spec import ModelSpec


def source_writes(unembedding: Unembedding, engine: Engine, prompts: Sequence[Prompt]) -> list[np.ndarray]:
    """What each head adds to the answer's logit at the last position, by source token.

    The write of head h from position j is A_j v_j W_O^h · g, where A is the attention from the last position,
    v the value and g the answer's direction in the stream (`kcircuits.analysis.direct_logit_attribution`).
    The sum over positions is the head's direct logit. If a norm follows the attention, its scale is that of
    the sum of all heads.

    Parameters
    ----------
    unembedding
        The model's unembedding.
    engine
        An engine of plain runs on the prompts, with all senders in memory.
    prompts
        The engine's N prompts.

    Returns
    -------
    list of np.ndarray
        For each prompt float64 [L * H, tokens], with heads in the order of layers.
    """
    spec = unembedding.spec
    last = torch.tensor(engine.starts[1:]) - 1
    streams = final_streams(spec, engine.senders()[:, last]).to(unembedding.mean.device)
    answers = torch.tensor([prompt.answer_id for prompt in prompts])
    scale = norm_scale(spec.final_norm, streams)
    directions = fold_norm(spec.final_norm, unembedding.rows(answers), scale)  # [N, D]
    by_layer = [_layer_writes(spec, engine, layer, directions) for layer in range(len(spec.layers))]
    return [np.concatenate(of) for of in zip(*by_layer, strict=True)]


def _layer_writes(spec: ModelSpec, engine: Engine, layer: int, directions: Tensor) -> list[np.ndarray]:
    """The writes of one layer's heads, for each prompt [H, tokens]."""
    attention = spec.layers[layer].attention
    norm = spec.layers[layer].attention_post_norm
    pattern, values = (part.double() for part in engine.attention(layer))
    w_o = dense(attention.w_o).double().unflatten(1, (spec.num_heads, spec.head_dim))  # [D, H, d]
    group = spec.num_heads // spec.num_kv_heads
    found = []
    for n, (start, end) in enumerate(zip(engine.starts, engine.starts[1:], strict=False)):
        length = end - start
        looks = pattern[:, n, length - 1, :length]  # [H, tokens]
        carried = looks[..., None] * values[:, start:end].repeat_interleave(group, dim=0)  # [H, tokens, d]
        direction = directions[n].to(w_o)
        if norm is not None:
            written = torch.einsum("htd,Dhd->D", carried, w_o)
            direction = fold_norm(norm, direction[None], norm_scale(norm, written)[None])[0]
        toward = torch.einsum("D,Dhd->hd", direction, w_o)
        found.append(torch.einsum("htd,hd->ht", carried, toward).cpu().numpy())
    return found
