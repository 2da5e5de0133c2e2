"""Models in memory: check a Transformers model, and read its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.building import parameter_shapes
from kcircuits.model.checkpoint import check_tensors
from kcircuits.model.families import check_family

HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def is_transformers_model(source: object) -> bool:
    """Whether this is a Transformers model; does not import Transformers."""
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(source).__mro__}
    return "transformers.PreTrainedModel" in names


def weights_in_memory(hf_model: Any) -> dict[str, Tensor]:
    """Name -> weight of a Transformers model, without copies; tied weights once, under their first name.

    Raises
    ------
    KCircuitsError
        If the model may compute something other than its configuration describes: an unknown family, forward
        hooks, adapters, quantised weights, or replaced modules.
    """
    family = hf_model.config.model_type
    check_family(family)
    for name, module in hf_model.named_modules():
        if any(getattr(module, kind) for kind in HOOKS):
            raise KCircuitsError(
                f"the module {name or 'model'!r} has forward hooks, which may change what the model computes "
                "and are not applied here: remove them first"
            )
    weights = {name: weight.detach() for name, weight in hf_model.named_parameters()}
    check_tensors(weights, family, Path(name_in_memory(hf_model)))
    _check_shapes({name: weight.shape for name, weight in weights.items()}, parameter_shapes(hf_model.config))
    return weights


def name_in_memory(hf_model: Any) -> str:
    """Name of the model: the name or folder that it was loaded from, or its class."""
    given = str(getattr(hf_model, "name_or_path", "") or "")
    return Path(given).name if given and Path(given).is_dir() else given or type(hf_model).__name__


def _check_shapes(found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size]) -> None:
    """Refuse a model whose parameters are not those of its configuration, because modules were replaced."""
    for name in sorted(found.keys() | expected.keys()):
        ours, theirs = found.get(name), expected.get(name)
        if ours != theirs:
            shown = ["none" if shape is None else str(list(shape)) for shape in (ours, theirs)]
            raise KCircuitsError(
                f"the model in memory is not what its configuration describes: the weight {name!r} is "
                f"{shown[0]}, and the configuration asks for {shown[1]}"
            )
