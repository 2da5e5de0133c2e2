"""Where the outputs of all senders are kept: chosen from the memory that there is.

They are by far the most of what the methods that score edges need. Four layouts:

* "memory": where the model is, as they are computed.
* "host": in the CPU's memory, for a model on a GPU; layers are copied when they are needed.
* "recomputed": not at all; a layer is run again, from the stream before it, when its senders are needed.
* "bfloat16": where the model is, the differences a − ã rounded to 8 bits of mantissa. It changes scores a
  little (docs/scaling.md), and so it is never chosen without being asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from kcircuits._native import C
from kcircuits.data.prompts import Prompt
from kcircuits.errors import KCircuitsError
from kcircuits.memory import Layout, Senders, available
from kcircuits.model.spec import ModelSpec
from kcircuits.portions import engine_bytes_per_token, has_constants, sums_rows


@dataclass(frozen=True)
class Placement:
    """How an engine keeps senders.

    Parameters
    ----------
    layout
        The layout.
    beside
        Bytes for each token of the least that runs beside the engine, by which portions of prompts are cut.
    """

    layout: Layout = "memory"
    beside: int = 0


IN_MEMORY = Placement()


def check_senders(senders: object, spec: ModelSpec) -> None:
    """Raise KCircuitsError if there is no such layout, or not for this model."""
    if senders not in get_args(Senders):
        raise KCircuitsError(f"senders must be one of {', '.join(get_args(Senders))}; got {senders!r}")
    if senders == "host" and spec.embedding.device.type == "cpu":
        raise KCircuitsError(
            "senders cannot be kept on the host: the model is on the CPU, so they are there in any case; "
            "use auto or recomputed"
        )


def placement_for_scores(
    spec: ModelSpec, prompts: Sequence[Prompt], memory: int, kept: bool, senders: Senders = "auto"
) -> Placement:
    """The layout for gradients of runs; "auto" takes the first exact one in which every prompt fits.

    Parameters
    ----------
    spec, prompts
        The model, and the prompts.
    memory
        Bytes for the engine and what runs beside it.
    kept
        Whether absent edges carry something.
    senders
        A layout, or "auto": "memory"; else "host", for a model on a GPU beside which there is room; else
        "recomputed".
    """
    longest = _longest(prompts)

    def beside(layout: Layout) -> int:
        one_run: int = C.plan_runs(spec, layout, longest, 1, longest, 1, 0).bytes
        return -(-one_run // longest)

    layout: Layout
    if senders != "auto":
        layout = senders
    elif longest * (engine_bytes_per_token(spec, kept) + beside("memory")) <= memory:
        layout = "memory"
    elif spec.embedding.device.type == "cuda" and longest * host_bytes_per_token(spec) < available() // 2:
        layout = "host"
    else:
        layout = "recomputed"
    least = beside(layout)
    if layout == "host":  # a portion's senders take half of the CPU's memory at most
        least = max(least, -(-2 * memory * host_bytes_per_token(spec) // max(1, available())))
    return Placement(layout, least)


def placement_for_circuits(spec: ModelSpec, prompts: Sequence[Prompt], memory: int, kept: bool) -> Placement:
    """The layout for masked runs of circuits: "memory", or "recomputed" where a prompt does not fit.

    A masked run keeps its own senders in either; of the plain runs it needs ablated values alone, layer by
    layer.
    """
    beside = circuit_bytes_per_token(spec)
    if _longest(prompts) * (engine_bytes_per_token(spec, kept) + beside) <= memory:
        return Placement("memory", beside)
    row = spec.width * spec.activation_bytes
    sums = sums_rows(spec) if kept or has_constants(spec) else 0
    return Placement("recomputed", beside + (sums + 2 * (spec.num_heads + 1)) * row)


def circuit_bytes_per_token(spec: ModelSpec) -> int:
    """Bytes of one circuit's masked run: all its senders, and about what one layer's receivers need."""
    layer = spec.num_heads + 2 * spec.num_kv_heads + 1
    return (len(spec.graph.senders) + 4 * layer) * spec.width * spec.activation_bytes


def host_bytes_per_token(spec: ModelSpec) -> int:
    """Bytes of all senders on the host."""
    return len(spec.graph.senders) * spec.width * spec.activation_bytes


def _longest(prompts: Sequence[Prompt]) -> int:
    return max(len(prompt.clean_ids) for prompt in prompts)
