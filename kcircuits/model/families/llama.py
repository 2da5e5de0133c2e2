"""LLaMA 1 to 3 and models built like it: SmolLM2, Mistral, Qwen 2 and 3, OLMo 2, Mixtral, Qwen 3 MoE."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kcircuits.model.activations import activation
from kcircuits.model.families.common import (
    bias,
    check_no_output_bias,
    check_rotated,
    decoder,
    gated_mlp,
    rms_norm,
    rotary,
    weight,
)
from kcircuits.model.spec import Attention, Experts, Layer, Mlp, ModelSpec, Norm, Rotary


def spec(hf_model: Any) -> ModelSpec:
    """Describe a model with LLaMA's architecture.

    Optional features: biases, grouped or single keys and values, a sliding window, norms of each query and
    key (Qwen 3), experts (Mixtral, Qwen 3 MoE).
    """
    angles = rotary(hf_model.model.rotary_emb)
    return decoder(hf_model, lambda block: layer(block, angles, hf_model.config))


def post_norm_spec(hf_model: Any) -> ModelSpec:
    """Describe an `Olmo2ForCausalLM`: norms after attention and MLP, and one joint norm over all queries."""
    angles, config = rotary(hf_model.model.rotary_emb), hf_model.config

    def post_normed(block: Any) -> Layer:
        check_no_output_bias(block.self_attn)
        return Layer(
            attention_norm=Norm("none"),
            attention=attention(block.self_attn, angles, config, joint_norms=True),
            attention_post_norm=rms_norm(block.post_attention_layernorm),
            mlp_norm=Norm("none"),
            mlp=gated_mlp(block.mlp, config.hidden_act),
            mlp_post_norm=rms_norm(block.post_feedforward_layernorm),
        )

    return decoder(hf_model, post_normed)


def layer(block: Any, angles: Rotary, config: Any) -> Layer:
    """A block with a norm before attention and one before the MLP."""
    has_experts = hasattr(block.mlp, "experts")
    return Layer(
        attention_norm=rms_norm(block.input_layernorm),
        attention=attention(block.self_attn, angles, config),
        mlp_norm=rms_norm(block.post_attention_layernorm),
        mlp=experts(block.mlp, config) if has_experts else gated_mlp(block.mlp, config.hidden_act),
    )


def attention(module: Any, angles: Rotary | None, config: Any, out: str = "o_proj", **more: Any) -> Attention:
    """Attention with separate projections; `out` names the output projection.

    Its own `sliding_window` takes precedence over the configuration's. Raises KCircuitsError if the angles do
    not match the number of rotated dimensions.
    """
    if angles is not None:
        check_rotated(angles, getattr(module, "rotary_ndims", module.head_dim))
    norms = {name: rms_norm(getattr(module, name)) for name in ("q_norm", "k_norm") if hasattr(module, name)}
    fields: dict[str, Any] = {
        "w_q": weight(module.q_proj),
        "w_k": weight(module.k_proj),
        "w_v": weight(module.v_proj),
        "w_o": weight(getattr(module, out)),
        "b_q": bias(module.q_proj),
        "b_k": bias(module.k_proj),
        "b_v": bias(module.v_proj),
        "b_o": bias(getattr(module, out)),
        "scale": float(module.scaling),
        "rotary": angles,
        "window": getattr(module, "sliding_window", getattr(config, "sliding_window", None)),
    }
    return Attention(**fields | norms | more)


def experts(module: Any, config: Any) -> Experts:
    """A router `gate` and `experts` with stacked weights, gate above up."""
    return Experts(
        router=weight(module.gate),
        top_k=config.num_experts_per_tok,
        normalise=bool(getattr(config, "norm_topk_prob", True)),
        experts=tuple(
            _expert(gate_up, down, config.hidden_act)
            for gate_up, down in zip(
                module.experts.gate_up_proj.detach(), module.experts.down_proj.detach(), strict=True
            )
        ),
    )


def _expert(gate_up: Tensor, down: Tensor, act: str) -> Mlp:
    w_gate, w_up = gate_up.chunk(2)
    return Mlp(activation=activation(act), w_up=w_up, w_gate=w_gate, w_down=down)
