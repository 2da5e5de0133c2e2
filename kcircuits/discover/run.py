"""From a model and prompts to a circuit, measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.data.prompts import Prompt
from kcircuits.discover.method import ProgressCallback
from kcircuits.discover.methods import method_of
from kcircuits.engine import Engine
from kcircuits.memory import memory_bytes
from kcircuits.metrics import Metric
from kcircuits.model.loading import Model
from kcircuits.model.transforms import fold_value_biases as folded
from kcircuits.task import Ablation, Task

TOLERANCE = 1e-4


class StaleMetricError(RuntimeError):
    """The search's own metric of its circuit is not what a fresh run gives: an error in this package."""


def discover(
    model: Model,
    prompts: Sequence[Prompt],
    method: str = "acdc",
    *,
    ablation: Ablation = "zero",
    metric: Metric = "nll",
    fold_value_biases: bool = False,
    memory: int | str | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Circuit:
    """Find the circuit of a model for some prompts.

    Parameters
    ----------
    model
        From `kcircuits.load_model`.
    prompts
        One or more; they may differ in length.
    method
        One of `kcircuits.discover.METHODS`: "acdc" (`kcircuits.discover.acdc.Acdc`).
    ablation
        What an absent edge carries: "zero", or the activation on the "corrupt" prompt.
    metric
        "nll", "kl" or "logit-diff" (`kcircuits.metrics`), averaged over prompts; lower is better.
    fold_value_biases
        Move value biases into the attention output's, which no ablation touches, as TransformerLens does.
    memory
        Bytes, or a size such as "8GiB", for the hypotheses that are evaluated together; it decides how
        many these are, and never the result. By default a quarter of the memory that is available, at most
        4 GiB (`kcircuits.memory`). The model's weights come on top, and a few times (about six) S·P·D
        numbers for the prompts' own activations: S senders, P tokens of all prompts together, D the width.
    progress
        Called with a `kcircuits.discover.Progress` several times a second; an exception ends the search.
    **options
        The method's options. For "acdc": `threshold` (required) and `absolute` (default False).

    Returns
    -------
    Circuit
        With its metric from fresh masked runs ("full", "circuit", "empty"), and stats: "tests" (what one
        forward per edge would have run), "evaluations" (hypotheses evaluated), "chunks" (batches of them),
        "seconds" (of the search alone).

    Raises
    ------
    KCircuitsError
        If anything of the input cannot be used; always before the search begins.
    StaleMetricError
        If the fresh run of the circuit contradicts the search.
    """
    chosen = method_of(method, options)
    task = Task(tuple(prompts), ablation, metric)
    budget = memory_bytes(memory)
    spec = folded(model.spec) if fold_value_biases else model.spec

    start = perf_counter()
    engine = Engine(spec, task)
    found = chosen.search(engine, budget, progress)
    seconds = perf_counter() - start

    settings = {
        **asdict(chosen),  # type: ignore[call-overload]  # a dataclass, which a protocol cannot say
        "ablation": ablation,
        "metric": metric,
        "fold_value_biases": fold_value_biases,
        "num_prompts": len(task.prompts),
    }
    stats = {**found.stats, "seconds": round(seconds, 3)}
    circuit = Circuit(spec.graph, model.identity, chosen.name, settings, {}, found.edges, stats)
    masks = np.stack([spec.graph.valid, circuit.mask(), np.zeros_like(spec.graph.valid)])
    values = engine.measure(masks, budget)
    if found.metric is not None:
        _check_agreement(found.metric, values[1])
    return replace(circuit, metric=dict(zip(("full", "circuit", "empty"), values, strict=True)))


def _check_agreement(running: float, fresh: float) -> None:
    if not math.isclose(running, fresh, rel_tol=TOLERANCE / 10, abs_tol=TOLERANCE):
        raise StaleMetricError(
            f"the search ended with the metric {running:.6g}, and a fresh run of its circuit gives "
            f"{fresh:.6g}: please report this as a bug of kcircuits, with the model and the prompts"
        )
