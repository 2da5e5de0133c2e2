"""Many prompts in portions whose activations fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kcircuits.data.prompts import Prompt
from kcircuits.model.spec import ModelSpec

_COPIES = 8  # of the senders' outputs, that an engine and a masked run hold at once


def portions(spec: ModelSpec, prompts: Sequence[Prompt], memory: int) -> Iterator[tuple[Prompt, ...]]:
    """Consecutive portions of the prompts, each small enough for `memory` bytes, or of one prompt."""
    bytes_per_token = _COPIES * len(spec.graph.senders) * spec.width * spec.activation_bytes
    tokens = memory // bytes_per_token
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
