"""LLaMA 1 to 3 and what is built like it (SmolLM2, Mistral)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from kcircuits.errors import KCircuitsError
from kcircuits.model.families.common import activation
from kcircuits.model.spec import Attention, Layer, Mlp, ModelSpec, Norm, Rotary

# In these the frequencies do not depend on the length of the prompt.
STATIC_ROPE = ("default", "linear", "llama3", "yarn")


def spec(hf_model: Any) -> ModelSpec:
    """Describe a `LlamaForCausalLM` or `MistralForCausalLM`.

    A sliding window bounds the length of prompts: within it, attention is plain causal attention.
    Raises KCircuitsError for rotary embeddings whose frequencies change with the length of the prompt.
    """
    config = hf_model.config
    max_positions = config.max_position_embeddings
    window = getattr(config, "sliding_window", None)
    rotary = _rotary(hf_model.model.rotary_emb)
    return ModelSpec(
        family=config.model_type,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=hf_model.model.layers[0].self_attn.head_dim,
        embedding=hf_model.model.embed_tokens.weight.detach(),
        layers=tuple(_layer(block, rotary, config) for block in hf_model.model.layers),
        final_norm=_norm(hf_model.model.norm),
        unembedding=hf_model.lm_head.weight.detach(),
        max_positions=max_positions if window is None else min(window, max_positions),
    )


def _rotary(module: Any) -> Rotary:
    if module.rope_type not in STATIC_ROPE:
        raise KCircuitsError(
            f"rotary embedding of type {module.rope_type!r} is not supported; known: {', '.join(STATIC_ROPE)}"
        )
    return Rotary(inv_freq=module.inv_freq.detach().float(), scale=float(module.attention_scaling))


def _layer(block: Any, rotary: Rotary, config: Any) -> Layer:
    attention, mlp = block.self_attn, block.mlp
    return Layer(
        attention_norm=_norm(block.input_layernorm),
        attention=Attention(
            w_q=attention.q_proj.weight.detach(),
            w_k=attention.k_proj.weight.detach(),
            w_v=attention.v_proj.weight.detach(),
            w_o=attention.o_proj.weight.detach(),
            b_q=_bias(attention.q_proj),
            b_k=_bias(attention.k_proj),
            b_v=_bias(attention.v_proj),
            b_o=_bias(attention.o_proj),
            scale=float(attention.scaling),
            rotary=rotary,
        ),
        mlp_norm=_norm(block.post_attention_layernorm),
        mlp=Mlp(
            activation=activation(config.hidden_act),
            w_up=mlp.up_proj.weight.detach(),
            w_gate=mlp.gate_proj.weight.detach(),
            w_down=mlp.down_proj.weight.detach(),
            b_up=_bias(mlp.up_proj),
            b_gate=_bias(mlp.gate_proj),
            b_down=_bias(mlp.down_proj),
        ),
    )


def _norm(module: Any) -> Norm:
    return Norm(kind="rmsnorm", eps=float(module.variance_epsilon), weight=module.weight.detach())


def _bias(linear: nn.Linear) -> Tensor | None:
    return None if linear.bias is None else linear.bias.detach()
