"""Build a Hugging Face model around given weights, for a family's file to read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.checkpoint import check_nesting


def convert_to_one_dtype(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], torch.dtype]:
    """The weights converted to the widest of their dtypes, so that a model can use them without a copy."""
    types = {weight.dtype for weight in weights.values() if weight.is_floating_point()}
    dtype = reduce(torch.promote_types, types) if types else torch.float32
    wide = {
        name: weight.to(dtype) if weight.is_floating_point() else weight for name, weight in weights.items()
    }
    return wide, dtype


def hugging_face_model(
    folder: Path, config_dict: dict[str, Any], weights: dict[str, Tensor], dtype: torch.dtype
) -> Any:
    """Build the Hugging Face model around the given weights; weights of this dtype are not copied.

    Raises KCircuitsError if the weights do not match the configuration, and whatever Transformers raises.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    config = AutoConfig.for_model(**config_dict)
    num_stored = sum(weight.numel() for weight in weights.values())
    check_size(parameter_shapes(config), num_stored, folder)
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    hf_model, report = model_class.from_pretrained(
        None,  # no folder, so that no key of the configuration makes Transformers read a file
        config=config,
        state_dict=weights,
        dtype=dtype,
        attn_implementation="eager",  # a configuration may name code to download here
        ignore_mismatched_sizes=True,  # reported below
        output_loading_info=True,
        local_files_only=True,
    )
    _check_report(report, folder)
    return hf_model


def parameter_shapes(config: Any) -> dict[str, torch.Size]:
    """Name -> shape of every parameter of a Transformers model with this configuration; tied ones once.

    The model is built on the meta device, without memory for its weights.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        # A configuration may also name attention code to download here.
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def check_size(shapes: Mapping[str, torch.Size], num_stored: int, source: Path) -> None:
    """Refuse a configuration that describes a model far larger than the weights.

    Transformers would fill all missing weights with random numbers before it reports them. Tied weights may
    be stored once and requested twice.

    Raises KCircuitsError.
    """
    asked = sum(shape.numel() for shape in shapes.values())
    if asked > 2 * num_stored:
        raise KCircuitsError(
            f"the weights in {source} are {num_stored:,} numbers, but its configuration needs {asked:,}"
        )


def _check_report(report: dict[str, Any], folder: Path) -> None:
    """Refuse missing weights, which Transformers would fill with random numbers, and unused ones.

    report: the loading info of `from_pretrained`.
    """
    check_nesting(sorted(report["missing_keys"]), report["unexpected_keys"], folder)
    for name, stored, expected in report["mismatched_keys"]:
        raise KCircuitsError(
            f"the weight {name!r} in {folder} has shape {list(stored)}, config.json needs {list(expected)}"
        )
    if missing := sorted(report["missing_keys"]):
        raise KCircuitsError(f"{folder} lacks {len(missing)} weights, the first is {missing[0]!r}")
    if unused := sorted(report["unexpected_keys"]):
        raise KCircuitsError(
            f"{folder} has {len(unused)} weights that its config.json has no place for, "
            f"the first is {unused[0]!r}"
        )
