"""Placement of weights on several devices: what must be on one device, and where each layer goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import read_document
from kcircuits.model.huggingface import first_line
from kcircuits.model.quantised import Weight
from kcircuits.model.spec import Layer, ModelSpec

DeviceMap = Mapping[int | str, str | torch.device]
"""Layer number -> device, also for "embedding" and "unembedding", whose defaults are the devices of the first
and the last layer. Numbers may be strings, as in JSON."""


def devices_of(spec: ModelSpec) -> tuple[torch.device, ...]:
    """The distinct devices of the weights: the embedding's first, then in layer order."""
    layers = [layer.attention.w_q.device for layer in spec.layers]
    return tuple(dict.fromkeys([spec.embedding.device, *layers, spec.unembedding.device]))


def check_together(spec: ModelSpec, method: str) -> None:
    """Raise KCircuitsError if the weights are on several devices, for methods that need a single one."""
    devices = devices_of(spec)
    if len(devices) > 1:
        raise KCircuitsError(
            f"{method} needs all weights on one device, but they are on {', '.join(map(str, devices))}; "
            "gradient methods (eap, eap-ig-inputs, …) and evaluate can use several"
        )


def colocate(spec: ModelSpec) -> ModelSpec:
    """Move small tensors to the device where they are used.

    Learned positions go to the embedding's device, the final norm and the unembedding's bias to the
    unembedding's, and the rotary angles of a layer to that of its weights.

    Raises
    ------
    KCircuitsError
        If the weights of one layer are on several devices, or some are not loaded.
    """
    layers = tuple(_colocate_layer(number, layer) for number, layer in enumerate(spec.layers))
    first, last = spec.embedding.device, spec.unembedding.device
    return replace(
        spec,
        positions=move_to(spec.positions, first),
        layers=layers,
        final_norm=move_to(spec.final_norm, last),
        unembedding_bias=move_to(spec.unembedding_bias, last),
    )


def place_on_devices(spec: ModelSpec, device_map: DeviceMap) -> ModelSpec:
    """Move the weights to the devices of a map.

    Tied embedding and unembedding stay one tensor if both go to one device; otherwise they are copied.

    Raises
    ------
    KCircuitsError
        If the map lacks a layer, has an unknown entry, or a device is not usable.
    """
    named = {str(name): check_device(device) for name, device in device_map.items()}
    count = len(spec.layers)
    known = {str(number) for number in range(count)}
    if unknown := sorted(named.keys() - known - {"embedding", "unembedding"}):
        raise KCircuitsError(
            f"the device map names {unknown[0]!r}; it may name 0 to {count - 1}, embedding and unembedding"
        )
    if missing := sorted(known - named.keys(), key=int):
        raise KCircuitsError(f"the device map has no device for layer {missing[0]} of {count}")
    first = named.get("embedding", named["0"])
    last = named.get("unembedding", named[str(count - 1)])
    embedding = move_to(spec.embedding, first)
    tied = first == last and _place(spec.unembedding) == _place(spec.embedding)
    return colocate(
        replace(
            spec,
            embedding=embedding,
            layers=tuple(move_to(layer, named[str(n)]) for n, layer in enumerate(spec.layers)),
            unembedding=embedding if tied else move_to(spec.unembedding, last),
        )
    )


def map_over_gpus(spec: ModelSpec) -> dict[int | str, str | torch.device]:
    """Split the layers into consecutive groups over all visible GPUs, in proportion to their free memory.

    Memory left for activations is then also in proportion. Without a GPU everything is on the CPU.
    """
    free = [torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count())]
    sizes = [sum(tensor.nbytes for tensor in tensors_of(layer)) for layer in spec.layers]
    if not free:
        return dict.fromkeys(range(len(sizes)), "cpu")
    return {number: f"cuda:{index}" for number, index in enumerate(shares(sizes, free))}


def shares(sizes: Sequence[int], room: Sequence[int]) -> list[int]:
    """Assign consecutive items to bins in proportion to their `room`; an item's midpoint decides its bin.

    Examples
    --------
    >>> shares([1, 1, 1, 1], [10, 30])
    [0, 1, 1, 1]
    """
    total, scale = sum(sizes), sum(room)
    ends = [sum(room[: index + 1]) * total for index in range(len(room))]
    middles = [(sum(sizes[:index]) + size / 2) * scale for index, size in enumerate(sizes)]
    return [next(i for i, end in enumerate(ends) if middle <= end) for middle in middles]


def read_device_map(path: str | Path) -> DeviceMap:
    """A map from a JSON file, such as {"0": "cuda:0", "1": "cuda:1", "embedding": "cuda:0"}.

    Raises KCircuitsError if it is invalid.
    """

    def check(document: object) -> dict[str, Any]:
        if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
            raise KCircuitsError("a device map is one JSON object of names and devices")
        return document

    return {name: str(device) for name, device in read_document(path, "device map", check).items()}


def check_device(device: str | torch.device) -> torch.device:
    """The device with its index; raises KCircuitsError if it is not usable."""
    try:
        return torch.empty(0, device=torch.device(device)).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise KCircuitsError(f"device {str(device)!r} is not usable: {first_line(error)}") from error


def move_to(value: Any, device: torch.device) -> Any:
    """Move a tensor or a part of a specification to a device; tensors already there are not copied."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(move_to(item, device) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        there = {name: move_to(part, device) for name, part in parts.items()}
        same = all(there[name] is parts[name] for name in parts)
        return value if same else replace(value, **there)
    return value


def _place(weight: Weight) -> int:
    return next(tensors_of(weight)).data_ptr()


def _colocate_layer(number: int, layer: Layer) -> Layer:
    device = layer.attention.w_q.device
    without_angles = replace(layer, attention=replace(layer.attention, rotary=None))
    found = {tensor.device for tensor in tensors_of(without_angles)}
    if any(one.type == "meta" for one in found):
        raise KCircuitsError(
            f"layer {number} has weights that accelerate has not loaded (offloaded): "
            "give a device_map in which all of them fit"
        )
    if found != {device}:
        raise KCircuitsError(
            f"the weights of layer {number} are on {', '.join(sorted(map(str, found)))}; "
            "all of one layer must be on one device"
        )
    angles = move_to(layer.attention.rotary, device)
    if angles is layer.attention.rotary:
        return layer
    return replace(layer, attention=replace(layer.attention, rotary=angles))


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors of a specification, or of a part of it."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from tensors_of(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors_of(getattr(value, field.name))
