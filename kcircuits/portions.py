"""Many prompts in portions whose activations fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kcircuits.data.prompts import Prompt
from kcircuits.model.spec import ModelSpec


def engine_bytes_per_token(spec: ModelSpec, kept: bool) -> int:
    """Bytes that an engine keeps for each token: all senders' outputs, and with `kept` their ablated values.

    What no mask changes, ablated values and output biases, also comes summed up before every sub-block.
    """
    biased = any(layer.attention.b_o is not None for layer in spec.layers)
    positions = spec.positions is not None and not spec.ablate_positions
    sums = 2 * len(spec.layers) + 1 if kept or biased or positions else 0
    rows = (2 if kept else 1) * len(spec.graph.senders) + sums
    return rows * spec.width * spec.activation_bytes


def portions(
    spec: ModelSpec, prompts: Sequence[Prompt], memory: int, *, kept: bool = False
) -> Iterator[tuple[Prompt, ...]]:
    """Consecutive portions of the prompts, whose engines take half of `memory` bytes, or of one prompt."""
    tokens = memory // (2 * engine_bytes_per_token(spec, kept))
    portion: list[Prompt] = []
    used = 0
    for prompt in prompts:
        if portion and used + len(prompt.clean_ids) > tokens:
            yield tuple(portion)
            portion, used = [], 0
        portion.append(prompt)
        used += len(prompt.clean_ids)
    if portion:
        yield tuple(portion)
