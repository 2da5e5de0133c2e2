"""GPT-OSS: experts, attention sinks, windows in every other layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.families.common import bias, decoder, rms_norm, rotary, weight
from kcircuits.model.families.llama import attention
from kcircuits.model.spec import Experts, Layer, Mlp, ModelSpec

ALPHA = 1.702  # α of the gate x σ(αx), which is then the "quick" GELU


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `GptOssForCausalLM`; raises KCircuitsError if the gate has another α."""
    config, angles = hf_model.config, rotary(hf_model.model.rotary_emb)
    if config.swiglu_alpha != ALPHA:
        raise KCircuitsError(f"swiglu_alpha must be {ALPHA}, got {config.swiglu_alpha}")

    def layer(block: Any) -> Layer:
        return Layer(
            attention_norm=rms_norm(block.input_layernorm),
            attention=attention(block.self_attn, angles, config, sinks=block.self_attn.sinks.detach()),
            mlp_norm=rms_norm(block.post_attention_layernorm),
            mlp=_experts(block.mlp, config),
        )

    return decoder(hf_model, layer)


def _experts(module: Any, config: Any) -> Experts:
    stacked = module.experts
    return Experts(
        router=weight(module.router),
        router_bias=bias(module.router),
        top_k=config.num_experts_per_tok,
        normalise=True,  # the model takes the softmax of the top logits alone, which is equivalent
        experts=tuple(
            _expert(*parts, limit=float(config.swiglu_limit))
            for parts in zip(
                stacked.gate_up_proj.detach(),
                stacked.gate_up_proj_bias.detach(),
                stacked.down_proj.detach(),
                stacked.down_proj_bias.detach(),
                strict=True,
            )
        ),
    )


def _expert(gate_up: Tensor, gate_up_bias: Tensor, down: Tensor, down_bias: Tensor, limit: float) -> Mlp:
    """An expert; stored weights are [in, out], with gate and up interleaved."""
    return Mlp(
        activation="quick_gelu",
        w_gate=gate_up[:, ::2].t(),
        b_gate=gate_up_bias[::2],
        w_up=gate_up[:, 1::2].t(),
        b_up=gate_up_bias[1::2],
        w_down=down.t(),
        b_down=down_bias,
        limit=limit,
        up_offset=1.0,
    )
