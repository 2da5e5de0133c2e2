"""GPT-J."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.families.common import bias, layer_norm, plain_mlp, weight
from kcircuits.model.spec import Attention, Layer, ModelSpec, Rotary


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `GPTJForCausalLM`: a parallel block with one norm.

    GPT-J rotates neighbouring dimensions, (0, 1), (2, 3), …. Queries and keys are permuted in the same way,
    so that partners are half the rotated dimensions apart; their products stay the same.
    Raises KCircuitsError for more rotated dimensions than a head has.
    """
    config, body = hf_model.config, hf_model.transformer
    head_dim = config.n_embd // config.n_head
    rotated = config.rotary_dim
    if rotated % 2 or not 0 < rotated <= head_dim:
        raise KCircuitsError(f"rotary_dim must be even and at most the {head_dim} of a head, got {rotated}")
    order = torch.cat(
        [torch.arange(0, rotated, 2), torch.arange(1, rotated, 2), torch.arange(rotated, head_dim)]
    )
    angles = Rotary(1.0 / 10000 ** (torch.arange(0, rotated, 2).float() / rotated))

    def reordered(w: Tensor) -> Tensor:
        return w.unflatten(0, (-1, head_dim))[:, order.to(w.device)].flatten(0, 1)

    def layer(block: Any) -> Layer:
        attention, norm = block.attn, layer_norm(block.ln_1)
        return Layer(
            attention_norm=norm,
            attention=Attention(
                w_q=reordered(weight(attention.q_proj)),
                w_k=reordered(weight(attention.k_proj)),
                w_v=weight(attention.v_proj),
                w_o=weight(attention.out_proj),
                scale=head_dim**-0.5,
                rotary=Rotary(angles.inv_freq.to(attention.q_proj.weight.device)),
            ),
            mlp_norm=norm,
            mlp=plain_mlp(block.mlp.fc_in, block.mlp.fc_out, config.activation_function),
        )

    return ModelSpec(
        family=config.model_type,
        num_heads=config.n_head,
        num_kv_heads=config.n_head,
        head_dim=head_dim,
        embedding=weight(body.wte),
        layers=tuple(map(layer, body.h)),
        final_norm=layer_norm(body.ln_f),
        unembedding=weight(hf_model.lm_head),
        unembedding_bias=bias(hf_model.lm_head),
        max_positions=config.n_positions,
        parallel=True,
    )
