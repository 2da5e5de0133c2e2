"""Split prompts into portions whose activations fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kcircuits.data.prompts import Prompt
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import SMALL, Layout
from kcircuits.task import Task

PART_TOKENS = 256
"""Maximum number of tokens of a part. Products with more rows are hardly faster, so parts cost little."""


def engine_bytes_per_token(spec: ModelSpec, kept: bool, layout: Layout = "memory") -> int:
    """Bytes per token that an engine stores on the model's device.

    In the layout "memory": all senders' outputs, with `kept` also their ablated values, and before every
    sub-block the sum of what no mask changes (ablated values and output biases). In the other layouts: the
    stream before every layer, with `kept` also the corrupt run's, and `input`; in "bfloat16" also the
    senders.
    """
    row = spec.width * spec.activation_bytes
    if layout == "memory":
        sums = sums_rows(spec) if kept or has_constants(spec) else 0
        return ((2 if kept else 1) * len(spec.graph.senders) + sums) * row
    streams = (2 if kept else 1) * (len(spec.layers) + 1)
    rounded = 2 * spec.width * (len(spec.graph.senders) - 1) if layout == "bfloat16" else 0
    return streams * row + rounded


def sums_rows(spec: ModelSpec) -> int:
    """Number of stored sums that no mask changes: one per sub-block, and one for the logits."""
    return 2 * len(spec.layers) + 1


def has_constants(spec: ModelSpec) -> bool:
    """Whether every stream has a part that no ablation changes."""
    biased = any(layer.attention.b_o is not None for layer in spec.layers)
    return biased or (spec.positions is not None and not spec.ablate_positions)


def means_bytes(spec: ModelSpec, task: Task) -> int:
    """Bytes of the means of a task, which are stored for all its portions; doubled for the summation."""
    if not task.is_mean:
        return 0
    reference = task.reference or task.prompts
    by_position = task.ablation == "mean-positional"
    positions = max(len(prompt.clean_ids) for prompt in reference) if by_position else 1
    return 2 * len(spec.graph.senders) * positions * spec.width * spec.activation_bytes


def portions(
    spec: ModelSpec,
    prompts: Sequence[Prompt],
    memory: int,
    *,
    kept: bool = False,
    layout: Layout = "memory",
    beside: int = 0,
) -> Iterator[tuple[Prompt, ...]]:
    """Consecutive portions of the prompts, each with at least one prompt.

    Engines and the work next to them (`beside`, bytes per token) fit into `memory` bytes. In the layout
    "memory" engines take at most half of it, so that more than one hypothesis fits next to them.
    """
    engine = engine_bytes_per_token(spec, kept, layout)
    if layout != "memory":
        return _cut(prompts, memory // (engine + beside))
    return _cut(prompts, min(memory // (2 * engine), max(memory, SMALL) // (engine + beside)))


def parts(prompts: Sequence[Prompt]) -> tuple[tuple[Prompt, ...], ...]:
    """Consecutive parts of the prompts, for sums of gradient scores; they depend only on the prompts.

    Each part has at most `PART_TOKENS` tokens, or is one prompt. Portions are cut from one part at a time.
    """
    return tuple(_cut(prompts, PART_TOKENS))


def _cut(prompts: Sequence[Prompt], tokens: int) -> Iterator[tuple[Prompt, ...]]:
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
