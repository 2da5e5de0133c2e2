"""Editing methods and their options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from kcircuits.editing.fine_tuning import Objective, TuningOptions
from kcircuits.editing.values import ValueOptions
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Node


@dataclass(frozen=True)
class Rome:
    """ROME (arXiv 2202.05262): a rank-one update of one MLP with minimal effect on other keys."""

    name: ClassVar[str] = "rome"
    layer: int | None = None
    value: ValueOptions = field(default_factory=ValueOptions)

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """The one layer; by default at a tenth of the depth."""
        return check_layers((default_layer(num_layers) if self.layer is None else self.layer,), num_layers)


@dataclass(frozen=True)
class Memit:
    """MEMIT (arXiv 2210.07229): many facts at once, spread over consecutive MLPs.

    `weight` is λ, the weight of keys from ordinary text relative to the keys of the edits.
    """

    name: ClassVar[str] = "memit"
    over: tuple[int, ...] | None = None
    weight: float = 20.0
    value: ValueOptions = field(default_factory=ValueOptions)

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise KCircuitsError(f"weight must be above 0 and finite, got {self.weight!r}")

    def layers(self, num_layers: int) -> tuple[int, ...]:
        """The layers; by default ROME's and the two below it."""
        chosen = layers_up_to(default_layer(num_layers)) if self.over is None else self.over
        return check_layers(chosen, num_layers)


@dataclass(frozen=True)
class FineTuning:
    """FT-L ("last") and FT-M ("masked"), named as in EasyEdit, on the matrices of some nodes."""

    objective: Objective
    nodes: tuple[str, ...] | None = None
    tuning: TuningOptions = field(default_factory=TuningOptions)

    @property
    def name(self) -> str:
        """The method's name."""
        return {"last": "ft-l", "masked": "ft-m"}[self.objective]

    def tuned_nodes(self, num_layers: int) -> tuple[str, ...]:
        """The nodes; by default the MLP of ROME's layer."""
        return (Node("mlp", default_layer(num_layers)).name,) if self.nodes is None else self.nodes


Method = Rome | Memit | FineTuning
METHODS = ("rome", "memit", "ft-l", "ft-m")


def default_layer(num_layers: int) -> int:
    """The default layer for edits: early, before the layers that read subjects."""
    return round(0.1 * num_layers)


def layers_up_to(last: int) -> tuple[int, ...]:
    """The layers over which MEMIT spreads: the last and the two below it."""
    return tuple(range(max(0, last - 2), last + 1))


def check_layers(layers: tuple[int, ...], num_layers: int) -> tuple[int, ...]:
    """Raise KCircuitsError unless the layers exist and are in rising order."""
    if not layers:
        raise KCircuitsError("there are no layers to edit")
    for layer in layers:
        if type(layer) is not int or not 0 <= layer < num_layers:
            raise KCircuitsError(f"there is no layer {layer!r}: the model has layers 0 to {num_layers - 1}")
    if list(layers) != sorted(set(layers)):
        raise KCircuitsError(f"layers must be in rising order, got {', '.join(map(str, layers))}")
    return layers
