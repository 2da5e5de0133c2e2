"""Outlines in the cache: one safetensors file each, with the specification as JSON in its header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import dump_json, parse_json
from kcircuits.model.cache import cache_folder, code_version, digest_of, write_cache
from kcircuits.model.config_account import ConfigAccount
from kcircuits.model.outline import Outline
from kcircuits.model.places import Place, Rows, Value, View, is_within
from kcircuits.model.spec import Attention, Experts, Layer, Mlp, ModelSpec, Norm, Rotary, map_leaves

MOST_VALUES = 2**26
"""Most bytes of an outline's own tensors; a larger outline is not cached."""

PARTS: dict[str, type] = {
    part.__name__: part
    for part in (ModelSpec, Layer, Attention, Mlp, Experts, Norm, Rotary, View, Rows, Value)
}


def write_outline(name: str, outline: Outline) -> None:
    """Write or replace an outline in the cache; skipped if JSON cannot hold one of its numbers."""
    from safetensors.torch import save

    if sum(value.nbytes for value in outline.values.values()) > MOST_VALUES:
        return
    try:
        parts = {"spec": _plain(outline.spec), "account": asdict(outline.account)}
        content = dump_json(parts, "spec", "outline")
    except KCircuitsError:  # an infinite number, which a configuration may have
        return
    header = {"seal": _seal(content, outline.values), "content": content}
    # One entry, because the order of several is not fixed.
    write_cache(
        _file(name), save(outline.values, metadata={"outline": dump_json(header, "header", "outline")})
    )


def read_outline(name: str, stored: Mapping[str, Tensor]) -> Outline | None:
    """The cached outline if this code wrote it, it is complete, and it fits the stored tensors; else None."""
    try:
        return _read(cache_folder() / _file(name), stored)
    except (KCircuitsError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # whatever is wrong, the caller recreates it


def _file(name: str) -> str:
    return f"spec-{name}.safetensors"


def _read(path: Path, stored: Mapping[str, Tensor]) -> Outline | None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header: Any = parse_json((file.metadata() or {})["outline"], "outline")
            values = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return None
    if header["seal"] != _seal(header["content"], values):
        return None
    content: Any = parse_json(header["content"], "outline")
    account = ConfigAccount(**content["account"] | {"used": tuple(content["account"]["used"])})
    outline = Outline(_parse(content["spec"]), values, account)
    return outline if _fits(outline, stored) else None


def _seal(content: str, values: dict[str, Tensor]) -> str:
    """A digest that shows that an outline is complete and written by this code."""
    from safetensors.torch import save

    return digest_of(content.encode(), save(values), code_version().encode())


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        parts = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {"is": type(value).__name__, **parts}
    return value


def _parse(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_parse(item) for item in value)
    if isinstance(value, dict):
        part = PARTS[value["is"]]
        return part(**{field.name: _parse(value[field.name]) for field in fields(part)})
    return value


def _fits(outline: Outline, stored: Mapping[str, Tensor]) -> bool:
    """Whether it is a specification in which every place exists."""
    fitting: list[bool] = [isinstance(outline.spec, ModelSpec)]

    def look_at(place: Place, _: str) -> Place:
        fitting.append(_exists(place, outline.values, stored))
        return place

    map_leaves(outline.spec, Place, look_at)
    return all(fitting)


def _exists(place: Place, values: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> bool:
    if isinstance(place, Value):
        return place.name in values
    source = stored[place.name]
    if isinstance(place, View):
        numbers = (place.offset, *place.shape, *place.stride)
        return all(type(number) is int and number >= 0 for number in numbers) and is_within(place, source)
    order = values[place.order]
    return order.dtype == torch.int64 and bool(((order >= 0) & (order < len(source))).all())
