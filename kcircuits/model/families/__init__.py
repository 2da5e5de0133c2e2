"""Model families: one small file each maps a Hugging Face model to a `ModelSpec`.

To add a family, write `families/<name>.py` with a function `spec(hf_model) -> ModelSpec` and add one line
to `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.config_account import ConfigAccount, apply_family
from kcircuits.model.devices import colocate
from kcircuits.model.families import (
    falcon,
    gemma,
    gpt2,
    gpt_neox,
    gpt_oss,
    gptj,
    llama,
    opt,
    phi,
    phi3,
    stablelm,
)
from kcircuits.model.spec import ModelSpec
from kcircuits.model.spec_numbers import check_numbers

FAMILIES: dict[str, Callable[[Any], ModelSpec]] = {
    "falcon": falcon.spec,
    "gemma": gemma.spec,
    "gemma2": gemma.post_norm_spec,
    "gemma3_text": gemma.post_norm_spec,
    "gpt2": gpt2.spec,
    "gpt_neox": gpt_neox.spec,
    "gpt_oss": gpt_oss.spec,
    "gptj": gptj.spec,
    "llama": llama.spec,
    "mistral": llama.spec,
    "mixtral": llama.spec,
    "olmo2": llama.post_norm_spec,
    "opt": opt.spec,
    "phi": phi.spec,
    "phi3": phi3.spec,
    "qwen2": llama.spec,
    "qwen3": llama.spec,
    "qwen3_moe": llama.spec,
    "stablelm": stablelm.spec,
}
"""`model_type` of a Hugging Face configuration -> function that reads such a model."""


def check_family(model_type: str) -> None:
    """Raise KCircuitsError, with the list of known families, unless `model_type` is one of them."""
    if model_type not in FAMILIES:
        raise KCircuitsError(
            f"model family {model_type!r} is not known; known: {', '.join(sorted(FAMILIES))} "
            "(docs/adding-a-family.md says how to add one)"
        )


def spec_of(hf_model: Any) -> ModelSpec:
    """Describe a Hugging Face causal language model; its weights are referenced, not copied.

    Layers may be on several devices (`device_map`); small tensors are copied to the device that needs them.

    Raises KCircuitsError for an unknown family, a variant that the family's file does not cover, an unused
    value of the configuration that could change numbers, or a layer that is on several devices.
    """
    return spec_and_account(hf_model)[0]


def account_of(hf_model: Any) -> ConfigAccount:
    """How each key of a model's configuration was used; raises the same errors as `spec_of`."""
    return spec_and_account(hf_model)[1]


def spec_and_account(hf_model: Any) -> tuple[ModelSpec, ConfigAccount]:
    """The results of both `spec_of` and `account_of`."""
    check_family(hf_model.config.model_type)
    if type(hf_model).__module__.startswith("transformers_modules."):
        raise KCircuitsError(
            f"{type(hf_model).__name__} is code of the checkpoint, not of Transformers; load it without "
            "trust_remote_code"
        )
    spec, account = apply_family(hf_model, FAMILIES[hf_model.config.model_type])
    if spec.num_heads % spec.num_kv_heads:
        raise KCircuitsError(
            f"{spec.num_heads} query heads cannot share {spec.num_kv_heads} key/value heads evenly"
        )
    check_numbers(spec)
    return colocate(spec), account
