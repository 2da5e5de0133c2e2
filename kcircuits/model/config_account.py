"""The account of a configuration: every key that could change a number is used, or the model is refused.

A family's file reads the configuration through a view that records the keys read and hides keys that
Transformers does not declare. Each key must then have been read, be visible in the model's modules, or be
known to be harmless (`kcircuits.model.config_keys`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.model.config_keys import EVIDENT, HARMLESS, ROPE_ALWAYS, ROPE_KEYS, agrees, layer_types
from kcircuits.model.spec import ModelSpec

READ_ANYWAY = frozenset({"is_causal"})
"""Keys that no class declares but Transformers reads for every family, and whose default is not false."""


@dataclass(frozen=True)
class ConfigAccount:
    """How each key of a configuration that is not at its default was used.

    `used`: keys that the family's file read, sorted. `evident`: key -> where in the model it is visible.
    `harmless`: key -> why it changes no number.
    """

    used: tuple[str, ...]
    evident: Mapping[str, str]
    harmless: Mapping[str, str]


def apply_family(hf_model: Any, family: Callable[[Any], ModelSpec]) -> tuple[ModelSpec, ConfigAccount]:
    """Apply a family's function to a model; returns the specification and the account of the configuration.

    Raises KCircuitsError with the key and its value if an unused key could change numbers, and whatever the
    family raises.
    """
    view = _ConfigView(hf_model.config)
    spec = family(_ModelView(hf_model, view))
    return spec, _account(hf_model.config, view.read, spec)


class _ConfigView:
    """A view of a configuration that records which keys are read and hides undeclared keys."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        kind: Any = type(self._config)
        key = kind.attribute_map.get(name, name)
        if key not in _defaults(kind) and not hasattr(kind, key):
            raise AttributeError(f"{kind.__name__} declares no {name!r}")
        value = getattr(self._config, key)
        self.read.add(key)
        return value


class _ModelView:
    """A model whose `config` is such a view; everything else comes from the model."""

    def __init__(self, hf_model: Any, config: _ConfigView) -> None:
        self._hf_model = hf_model
        self.config = config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hf_model, name)


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    """The keys that a configuration class declares, by their real names, with their defaults."""
    declared = inspect.signature(kind).parameters.values()
    return {kind.attribute_map.get(key.name, key.name): key.default for key in declared}


def _account(config: Any, read: set[str], spec: ModelSpec) -> ConfigAccount:
    kind: Any = type(config)
    defaults = _defaults(kind)
    evident, harmless = {}, {}
    for key, value in vars(config).items():
        if key in read or (key in defaults and _is_same(value, defaults[key])):
            continue
        where = _find_in_model(key, value, key in defaults, config, spec)
        if where is not None:
            evident[key] = where
        elif (reason := _harmless(key)) is not None:
            harmless[key] = reason
        elif key in defaults:
            raise KCircuitsError(
                f"the configuration has {key} = {quote(value)}, which kcircuits does not use for "
                f"{spec.family} models, so results could be wrong; if it changes no number, remove it from "
                "config.json"
            )
        elif key in READ_ANYWAY:
            raise KCircuitsError(f"the configuration has {key} = {quote(value)}, which is not supported")
        elif not _says_nothing(value):
            raise KCircuitsError(
                f"the configuration has {key} = {quote(value)}, which Transformers does not read for "
                f"{spec.family} models; if it changes nothing, remove it from config.json"
            )
    if "rope_parameters" in defaults:
        _check_rope(config.rope_parameters or {}, spec)
    return ConfigAccount(
        tuple(sorted(read & vars(config).keys())),
        evident,
        {key: reason for key, reason in harmless.items() if not key.startswith("_")},
    )


def _find_in_model(key: str, value: Any, declared: bool, config: Any, spec: ModelSpec) -> str | None:
    """Where in the model a key is visible, or None."""
    if key == "layer_types":
        return "the window of each layer" if value == layer_types(spec) else None
    if key == "sliding_window_pattern" and hasattr(config, "layer_types"):
        return "in layer_types"
    if declared and key in EVIDENT:
        return EVIDENT[key]
    rope = getattr(config, "rope_parameters", None) or {}
    if key in rope and rope[key] == value:
        return EVIDENT["rope_parameters"]
    return "what the model does anyway" if agrees(key, value, spec) else None


def _harmless(key: str) -> str | None:
    return HARMLESS.get(key) or next(
        (reason for pattern, reason in HARMLESS.items() if fnmatchcase(key, pattern)), None
    )


def _is_same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _says_nothing(value: Any) -> bool:
    """Whether a value is null, false or empty, which is harmless in a key that nothing reads."""
    return value is None or value is False or (isinstance(value, str | list | tuple | dict) and not value)


def _check_rope(parameters: Mapping[str, Any], spec: ModelSpec) -> None:
    """Refuse a key of rope_parameters that the angles do not use; they may be nested by layer type."""
    if not any(isinstance(value, Mapping) for value in parameters.values()):
        _check_angles(parameters, spec, 0)
        return
    types = layer_types(spec)
    for name, of_type in parameters.items():
        if name in types and isinstance(of_type, Mapping):
            _check_angles(of_type, spec, types.index(name))
        elif not _says_nothing(of_type) and name not in ("full_attention", "sliding_attention"):
            raise KCircuitsError(
                f"rope_parameters has {name} = {quote(of_type)} beside parameters of types of layers, which "
                "Transformers does not read; if it changes nothing, remove it from config.json"
            )


def _check_angles(parameters: Mapping[str, Any], spec: ModelSpec, layer: int) -> None:
    kind = parameters.get("rope_type", "default")
    for key, value in parameters.items():
        if key in ROPE_ALWAYS | ROPE_KEYS.get(kind, frozenset()) or _says_nothing(value):
            continue
        if key == "partial_rotary_factor" and _is_part(value, spec, layer):
            continue
        raise KCircuitsError(
            f"rope_parameters has {key} = {quote(value)}, which Transformers does not read for type "
            f"{kind!r} in {spec.family} models; if it changes nothing, remove it from config.json"
        )


def _is_part(factor: Any, spec: ModelSpec, layer: int) -> bool:
    """Whether this is the fraction of a head's dimensions that a layer rotates."""
    rotary = spec.layers[layer].attention.rotary
    return rotary is not None and len(rotary.inv_freq) == (int(spec.head_dim * factor) + 1) // 2
