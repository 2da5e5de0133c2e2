"""Choose where to store the outputs of all senders, depending on the memory budget.

They take by far the most memory in methods that score edges. There are four layouts:

* "memory": on the model's device, as computed.
* "host": in CPU memory, for a model on a GPU; layers are copied when needed.
* "recomputed": not stored; a layer runs again, from the stream before it, when its senders are needed.
* "bfloat16": on the model's device, with the differences a − ã rounded to 8 bits of mantissa. It changes
  scores slightly (docs/scaling.md), so it is used only on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from kcircuits._native import C
from kcircuits.data.prompts import Prompt
from kcircuits.engine.portions import engine_bytes_per_token, has_constants, sums_rows
from kcircuits.errors import KCircuitsError
from kcircuits.model.quantised import QuantisedWeight
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import Layout, Senders, available_memory

LOGIT_BYTES = 64 * 2**20
"""Bytes of logits per step of a metric's gradient; softmax and products need twice as much in addition."""


@dataclass(frozen=True)
class Placement:
    """How an engine stores sender outputs.

    Parameters
    ----------
    layout
        The layout.
    beside
        Bytes per token of the smallest step besides the engine; determines the portions of prompts.
    """

    layout: Layout = "memory"
    beside: int = 0


IN_MEMORY = Placement()


def check_senders(senders: object, spec: ModelSpec) -> None:
    """Raise KCircuitsError if the layout does not exist or does not suit this model."""
    if senders not in get_args(Senders):
        raise KCircuitsError(f"senders must be one of {', '.join(get_args(Senders))}; got {senders!r}")
    if senders == "host" and spec.embedding.device.type == "cpu":
        raise KCircuitsError(
            "senders cannot be moved to the host: the model is on the CPU, so they are there already; "
            "use auto or recomputed"
        )


def placement_for_scores(
    spec: ModelSpec,
    prompts: Sequence[Prompt],
    memory: int,
    kept: bool,
    senders: Senders = "auto",
    *,
    another: bool = False,
    qk_fix: bool = False,
) -> Placement:
    """The layout for gradients of runs; "auto" takes the first exact layout that fits every prompt.

    Parameters
    ----------
    spec, prompts
        The model, and the prompts.
    memory
        Memory budget in bytes for the engine and the work besides it.
    kept
        Whether absent edges carry a value (any ablation except zero).
    senders
        A layout, or "auto": "memory" if it fits; else "host", for a model on a GPU, if the CPU has enough
        memory; else "recomputed".
    another, qk_fix
        Whether the method stores one more run at the same time; whether it corrects queries and keys (AtP*).
    """
    longest = _longest(prompts)

    def beside(layout: Layout) -> int:
        return run_bytes_per_token(spec, layout, longest, another, qk_fix)

    layout: Layout
    if senders != "auto":
        layout = senders
    elif longest * (engine_bytes_per_token(spec, kept) + beside("memory")) <= memory:
        layout = "memory"
    elif (
        spec.embedding.device.type == "cuda"
        and longest * host_bytes_per_token(spec) < available_memory() // 2
    ):
        layout = "host"
    else:
        layout = "recomputed"
    least = beside(layout)
    if layout == "host":  # the senders of a portion take at most half of the CPU memory
        least = max(least, -(-2 * memory * host_bytes_per_token(spec) // max(1, available_memory())))
    return Placement(layout, least)


def placement_for_circuits(
    spec: ModelSpec, prompts: Sequence[Prompt], memory: int, kept: bool, streams: int = 0
) -> Placement:
    """The layout for masked runs of circuits: "memory", or "recomputed" if a prompt does not fit.

    In both layouts, a masked run stores its own senders. From the plain runs it needs only the ablated
    values, one layer at a time.
    """
    longest = _longest(prompts)
    beside = circuit_bytes_per_token(spec, longest, streams)
    if longest * (engine_bytes_per_token(spec, kept) + beside) <= memory:
        return Placement("memory", beside)
    return Placement("recomputed", beside + recomputed_bytes_per_token(spec, kept))


def run_bytes_per_token(
    spec: ModelSpec, layout: Layout, longest: int, another: bool = False, qk_fix: bool = False
) -> int:
    """Least bytes per token of a run with gradients on the longest prompt, including its logits."""
    one_run: int = C.plan_runs(spec, layout, longest, 1, longest, 1, 0, another).bytes
    if qk_fix:  # queries, keys and patterns of one sender
        patterns = 4 * spec.num_heads * longest**2
        rows = 4 * spec.width + 8 * spec.num_heads * spec.head_dim
        one_run += (patterns + rows * longest) * spec.activation_bytes
    return -(-(one_run + logit_bytes(spec, 1)) // longest) + mask_bytes_per_token(longest)


def logit_bytes(spec: ModelSpec, prompts: int) -> int:
    """Bytes of the logits of some prompts while the gradient of a metric is computed.

    On the CPU, products read weights as stored; other devices first convert the whole unembedding.
    """
    logits = 3 * min(LOGIT_BYTES, prompts * spec.vocab_size * spec.activation_bytes)
    weight = spec.unembedding
    narrow = isinstance(weight, QuantisedWeight) or weight.element_size() < spec.activation_bytes
    widened = spec.vocab_size * spec.width * spec.activation_bytes
    return logits + (widened if narrow and weight.device.type != "cpu" else 0)


def circuit_bytes_per_token(spec: ModelSpec, longest: int, streams: int = 0) -> int:
    """Bytes per token of one circuit's masked run: all its senders, and about one layer of receivers.

    `streams`: number of layers whose streams are read at all tokens.
    """
    graph = spec.graph
    rows = (len(graph.nodes) + 4 * graph.largest.num_receivers + streams) * spec.width * spec.activation_bytes
    return rows + pattern_bytes_per_token(spec, longest) + mask_bytes_per_token(longest)


def recomputed_bytes_per_token(spec: ModelSpec, kept: bool) -> int:
    """Additional bytes per token if senders are recomputed: sums of ablated values, and one layer."""
    sums = sums_rows(spec) if kept or has_constants(spec) else 0
    return (sums + 2 * spec.graph.largest.num_nodes) * spec.width * spec.activation_bytes


def mask_bytes_per_token(longest: int) -> int:
    """Bytes per token of the causal mask, which all prompts of an engine share."""
    return 4 * longest


def pattern_bytes_per_token(spec: ModelSpec, longest: int) -> int:
    """Bytes per token of one head's attention patterns, if a run without gradients materialises them.

    The CPU computes float32 attention without window, soft cap and sinks row by row.
    """
    row_by_row = spec.embedding.device.type == "cpu" and spec.activation_bytes == 4
    whole = any(
        layer.attention.soft_cap is not None
        or layer.attention.sinks is not None
        or (layer.attention.window is not None and layer.attention.window < longest)
        for layer in spec.layers
    )
    return 0 if row_by_row and not whole else 3 * longest * spec.activation_bytes


def host_bytes_per_token(spec: ModelSpec) -> int:
    """Bytes per token of all senders in CPU memory."""
    return len(spec.graph.senders) * spec.width * spec.activation_bytes


def _longest(prompts: Sequence[Prompt]) -> int:
    return max(len(prompt.clean_ids) for prompt in prompts)
