"""Model families: one small file each maps a Hugging Face model to a `ModelSpec`.

To add a family, write `families/<name>.py` with a function `spec(hf_model) -> ModelSpec` and add one line
to `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.families import gpt2, llama
from kcircuits.model.spec import ModelSpec

FAMILIES: dict[str, Callable[[Any], ModelSpec]] = {
    "gpt2": gpt2.spec,
    "llama": llama.spec,
    "mistral": llama.spec,
}
"""`model_type` of a Hugging Face configuration -> the function that reads such a model."""


def check_family(model_type: str) -> None:
    """Raise KCircuitsError, with the list of known families, unless `model_type` is one of them."""
    if model_type not in FAMILIES:
        raise KCircuitsError(
            f"model family {model_type!r} is not known; known: {', '.join(sorted(FAMILIES))}"
        )


def spec_of(hf_model: Any) -> ModelSpec:
    """Describe a Hugging Face causal language model; its weights are referenced, not copied.

    Raises KCircuitsError for an unknown family or a variant that the family's file does not cover.
    """
    check_family(hf_model.config.model_type)
    return FAMILIES[hf_model.config.model_type](hf_model)
