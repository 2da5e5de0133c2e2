"""Knockout: remove a circuit from its model, and measure what it forgets and side effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kcircuits.analysis.knockout.results import OWN, TEXT, Knockout, PromptsEffect, TextEffect
from kcircuits.analysis.knockout.text_windows import (
    WINDOW,
    RunningText,
    streams_at_once,
    text_perplexity,
    windows_of,
)
from kcircuits.circuit import Circuit
from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.data.prompts import Prompt
from kcircuits.engine import check_all_fit
from kcircuits.engine.needs import for_circuits
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.measure import measure_runs
from kcircuits.evaluation.measures import HIT_RANK
from kcircuits.evaluation.prepare import check_whole, prepared
from kcircuits.files.documents import quote
from kcircuits.graph import Graph
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task


def knockout(
    model: Model,
    task: Task,
    circuit: Circuit,
    *,
    others: Mapping[str, Sequence[Prompt]] | None = None,
    text: RunningText | None = None,
    private_of: Sequence[Circuit] = (),
    random_circuits: int = 5,
    seed: int = 0,
    hit_k: int = HIT_RANK,
    memory: int | str | None = None,
) -> Knockout:
    """Remove a circuit's edges from the model's runs, and measure what it forgets and side effects.

    For comparison, the same is done with random connected circuits of the same size. The measure is always
    the NLL of the answer, independent of the task's metric.

    Parameters
    ----------
    model
        The model that the circuit was found in.
    task
        The circuit's own prompts, and the ablation; `Task.as_found` gives the task of the circuit's
        discovery. Means over the task's own prompts, or its reference, are used everywhere.
    circuit
        From `kcircuits.discover`, `Scores.select` or `Circuit.load`.
    others
        Prompts about other things, by name.
    text
        A running text for perplexity, the exponential of the mean NLL of its tokens. It is cut into windows
        of 64 tokens that do not overlap. A token is predicted from those before it in its window, the first
        from BOS if the tokenizer has one, otherwise not at all. A text has no corrupt prompts, so it needs
        another ablation.
    private_of
        Other circuits of the model. Only edges that none of them has are removed.
    random_circuits, seed
        Random circuit i is drawn with seed + i. The seed is also used for the bootstrap.
    hit_k
        The k of Hit@k.
    memory
        Bytes, or a size such as "8GiB", as in `kcircuits.evaluate`.

    Raises
    ------
    KCircuitsError
        If nothing would be removed, a circuit belongs to another model, or anything else of the input cannot
        be used.
    """
    spec = prepared(model, task, circuit)
    task = replace(task, metric="nll")
    check_whole("random_circuits", random_circuits)
    check_whole("seed", seed)
    check_whole("hit_k", hit_k, least=1)
    removed = _edges_to_remove(circuit, private_of)
    tasks = {OWN: task}
    for name, each in (others or {}).items():
        if name in (OWN, TEXT):
            raise KCircuitsError(f"other prompts must not be named {name!r}, which is a reserved name")
        tasks[name] = _task_of(name, spec, task, each)
    windows, text_task = None, task
    if text is not None:
        if not isinstance(text, RunningText):
            raise KCircuitsError(
                f"text must be a RunningText, got {quote(text)}: write kcircuits.RunningText(text)"
            )
        if task.ablation == "corrupt":
            raise KCircuitsError("a text has no corrupt prompts: use zero or mean ablation, or leave it out")
        windows = windows_of(model.tokenizer, text.text, spec, text.tokens)
        text_task = _task_of(TEXT, spec, task, windows.prompts)

    needs = [for_circuits(spec, each) for each in tasks.values()]
    if windows is not None:
        needs.append(for_circuits(spec, text_task, streams_at_once(spec)))
    budget = budget_for(memory, needs)
    masks = _knockout_masks(spec.graph, removed, random_circuits, seed)
    effects = []
    for name, on in tasks.items():
        full, without, *random = measure_runs(spec, on, masks, budget)
        effects.append(PromptsEffect(name, full, without, tuple(random)))
    on_text = None
    if windows is not None:
        before, after, *by_chance = text_perplexity(spec, text_task, windows, masks, budget)
        on_text = TextEffect(windows.num_predicted, before, after, tuple(by_chance))
    settings: dict[str, Any] = {
        "ablation": task.ablation,
        "num_prompts": len(task.prompts),
        "num_circuit_edges": len(circuit.edges),
        "num_removed_edges": int(removed.sum()),
        "hit_k": hit_k,
        "seed": seed,
    }
    if windows is not None:
        settings["text_window"] = WINDOW
    return Knockout(model.identity, settings, tuple(effects), on_text)


def _edges_to_remove(circuit: Circuit, private_of: Sequence[Circuit]) -> np.ndarray:
    """The edges to remove, bool [S, R]: those of the circuit that no other circuit has."""
    removed = circuit.mask()
    for other in private_of:
        other.check_model(circuit.model)
        removed &= ~other.mask()
    if not removed.any():
        what = "edges" if not circuit.edges else "edges of its own: the others have all of them"
        raise KCircuitsError(f"nothing to remove: the circuit has no {what}")
    return removed


def _task_of(name: str, spec: ModelSpec, task: Task, prompts: Sequence[Prompt]) -> Task:
    """The task on other prompts; means are over the same reference."""
    reference = task.reference or (task.prompts if task.is_mean else ())
    try:
        made = replace(task, prompts=tuple(prompts), reference=reference)
        check_all_fit(spec, made.prompts)
    except KCircuitsError as error:
        raise KCircuitsError(f"{name}: {error}") from error
    return made


def _knockout_masks(graph: Graph, removed: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Masks [2 + count, S, R]: the full model, without the edges, and without those of random circuits."""
    num_edges = int(removed.sum())
    drawn = [random_connected_mask(graph, num_edges, np.random.default_rng(seed + i)) for i in range(count)]
    return np.stack([graph.valid, *(graph.valid & ~each for each in (removed, *drawn))])
