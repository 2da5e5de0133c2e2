"""Bytes of a model's weights, and of a search within a budget (minima: `kcircuits.engine.needs`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kcircuits._native import C
from kcircuits.data.prompts import Prompt
from kcircuits.engine.layouts import (
    circuit_bytes_per_token,
    logit_bytes,
    placement_for_circuits,
    recomputed_bytes_per_token,
)
from kcircuits.engine.needs import Sizes
from kcircuits.engine.portions import portions
from kcircuits.model.devices import tensors_of
from kcircuits.model.spec import ModelSpec

__all__ = ["GradientWork", "Sizes", "gradient_work", "measuring_bytes", "weights_bytes"]


def weights_bytes(spec: ModelSpec) -> int:
    """Bytes of all weights; a tensor that is used twice, or lies inside another, counts once."""
    spans: dict[int, int] = {}
    for tensor in tensors_of(spec):
        storage = tensor.untyped_storage()
        spans[storage.data_ptr()] = storage.nbytes()
    return sum(spans.values())


@dataclass(frozen=True)
class GradientWork:
    """Runs that gradients are taken back through.

    Parameters
    ----------
    at_a_time
        How many of them go together.
    blocks
        How often the senders are brought or computed for these: once for every few layers of receivers.
    keeps_insides
        Whether what is inside the layers is kept; else each layer is run once more.
    bytes
        Of all that is there beside the engine.
    """

    at_a_time: int
    blocks: int
    keeps_insides: bool
    bytes: int


def gradient_work(sizes: Sizes, runs: int, memory: int, another: bool = False) -> GradientWork:
    """So many runs, as many as go together, with `another` that stays meanwhile; and logits."""
    spec = sizes.spec
    logits = logit_bytes(spec, sizes.prompts)
    left = max(1, memory - sizes.engine - logits)
    planned = C.plan_runs(spec, sizes.layout, sizes.tokens, sizes.prompts, sizes.longest, runs, left, another)
    blocks = -(-len(spec.layers) // planned.layers_together) if planned.layers_together else 1
    return GradientWork(planned.at_a_time, blocks, planned.keeps_insides, planned.bytes + logits)


def measuring_bytes(spec: ModelSpec, kept: bool, prompts: Sequence[Prompt], memory: int) -> int:
    """Masked runs of the circuit that was found, of the full model and of nothing; the engine included."""
    placement = placement_for_circuits(spec, prompts, memory, kept)
    cut = portions(spec, prompts, memory, kept=kept, **vars(placement))
    sizes = max(
        (Sizes.of(spec, kept, portion, placement.layout) for portion in cut), key=lambda sizes: sizes.tokens
    )
    beside = 0
    if placement.layout == "recomputed":
        beside = sizes.tokens * recomputed_bytes_per_token(spec, kept)
    one = sizes.tokens * circuit_bytes_per_token(spec, sizes.longest)
    together = min(3, max(1, (memory - sizes.engine - beside) // one))
    return sizes.engine + beside + together * one
