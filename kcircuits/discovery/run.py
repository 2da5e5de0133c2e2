"""From a model and prompts to a circuit, measured, or to the scores of all edges."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.data.metrics import clamp_metric
from kcircuits.discovery.by_scores import check_differences, checked_scores
from kcircuits.discovery.checkpoint import Checkpoint
from kcircuits.discovery.defaults import DERIVED, derive_selection, suggest
from kcircuits.discovery.method import Found, Method, Scorer, Search
from kcircuits.discovery.methods import METHODS, scoring_methods
from kcircuits.discovery.progress import ProgressCallback
from kcircuits.discovery.search_identity import search_of
from kcircuits.display.progress import show_progress
from kcircuits.engine import check_all_fit, measure
from kcircuits.engine.needs import for_circuits, for_method
from kcircuits.errors import KCircuitsError, KCircuitsWarning
from kcircuits.files.documents import quote
from kcircuits.files.writing import check_output_file
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import budget_for, give_back
from kcircuits.scores import Scores, edges_of
from kcircuits.scores.selection import Selection, select
from kcircuits.task import Task, check_task

TOLERANCE = 1e-4


class StaleMetricError(RuntimeError):
    """The search's own metric of its circuit is not what a fresh run gives: an error in this package."""


def discover(
    model: Model,
    task: Task,
    method: Method,
    selection: Selection | None = None,
    *,
    memory: int | str | None = None,
    progress: ProgressCallback | bool | None = None,
    scores: str | Path | None = None,
    checkpoint: str | Path | None = None,
) -> Circuit:
    """Find the circuit of a model for a task.

    Parameters
    ----------
    model
        From `kcircuits.load_model`.
    task
        What is asked: prompts, ablation, metric, changes to the graph.
    method
        How to search: `Acdc`, `EdgePruning`, or a method that scores all edges, of which a selection is
        taken: `Eap`, `EapIg`, `EapIgActivations`, `CleanCorrupted`, `Relp`, `Ifr`, `Exact` (docs/methods.md
        compares them).
    selection
        Which edges to take, for a method that scores all edges; `Scores.select` does the same later. By
        default the smallest of several sizes whose faithfulness is at least 0.8
        (`kcircuits.discovery.defaults`).
    memory
        Bytes, or a size such as "8GiB", for the search and for the final measurement, each by itself; it
        decides what is evaluated together, and never the result. The model's weights come on top. By default
        a quarter of the memory that is available, at most 4 GiB, or what is needed at least
        (`kcircuits.runtime.memory.budget_for`). `Acdc` and `EdgePruning` take all prompts at once.
    progress
        By default a bar in a terminal or notebook if the search takes longer than two seconds; True or False
        for always or never. Or a callback: it is called several times a second with a
        `kcircuits.discovery.Progress` or `Steps`, and an exception ends the search.
    scores
        Where to write the scores of all edges (`kcircuits.scores.Scores.save`), for a method that has them.
    checkpoint
        For a method that resumes (`Acdc`): a file that is written about once a second, and when the search is
        interrupted. Where it is there, the search goes on from it and ends with the same circuit, bit for
        bit, as if it had never stopped; a search without `memory` goes on with the budget that it had. The
        file stays when the search is done: remove it once the circuit is safe.

    Returns
    -------
    Circuit
        With its metric from fresh masked runs ("full", "circuit", "empty"), and stats: "seconds" (of the
        search alone); for `Acdc` also "tests" (what one forward per edge would have run), "evaluations"
        (hypotheses evaluated) and "chunks" (batches of them); for `EdgePruning` "steps". Where a threshold
        or a size was derived, the settings hold its value, and "derived" says why.

    Raises
    ------
    KCircuitsError
        If anything of the input cannot be used, or the memory is too little for one prompt, before the search
        begins; or if a method that selects or
        trains has no edge left in the end. (ACDC may remove them all, which is a result.) Also if the
        checkpoint is damaged or is one of another search: of other prompts or settings, another model or
        memory, or where products are rounded in another way (threads, processor, versions).
    StaleMetricError
        If the fresh run of the circuit contradicts the search.
    """
    spec = check_experiment(model, task, method)
    _check_belongings(method, selection, scores, checkpoint)
    kept = None if checkpoint is None else Checkpoint(checkpoint)
    needs = [for_method(method, spec, task), for_circuits(spec, task)]
    budget = budget_for(kept.memory if kept and memory is None else memory, needs)
    method, reasons = method.resolve(spec, task, budget)
    settings = method.settings | ({} if selection is None else asdict(selection)) | task.settings
    if kept is not None:
        kept.begin(search_of(spec, task, model.identity, settings, budget))

    start = perf_counter()
    with show_progress(progress) as report:
        if isinstance(method, Scorer):
            matrix = checked_scores(method, spec, task, budget, report)
            if selection is None:
                selection, reasons["top_n"] = derive_selection(method.name, spec, task, matrix, budget)
                settings |= asdict(selection)
            mask = select(spec.graph, matrix, selection)
            found = Found(edges_of(spec.graph, mask, matrix), None, {}, matrix)
        else:
            assert isinstance(method, Search)
            found = method.search(spec, task, budget, report, kept)
    seconds = perf_counter() - start + (kept.seconds if kept else 0)

    stats = {**found.stats, "seconds": round(seconds, 3)}
    if reasons:
        settings[DERIVED] = reasons
    circuit = Circuit(spec.graph, model.identity, method.name, settings, {}, found.edges, stats)
    measured = _measured(circuit, spec, task, budget)
    if found.metric is not None:
        _check_agreement(found.metric, measured.metric["circuit"])
    if scores is not None and found.scores is not None:
        Scores(spec.graph, model.identity, method.name, settings, found.scores).save(scores)
    return measured


def select_circuit(
    model: Model,
    task: Task,
    scores: Scores,
    selection: Selection,
    *,
    memory: int | str | None = None,
    seconds: float = 0.0,
) -> Circuit:
    """The circuit that `discover` finds with a method that scores all edges, from scores that are there.

    Unlike `Scores.select` it measures the circuit.

    Parameters
    ----------
    model, task
        Those that the scores were computed with by `attribute`.
    scores
        From `attribute`.
    selection
        Which edges to take.
    memory
        As in `discover`.
    seconds
        How long the scoring took, which the circuit's stats count as its search.

    Raises
    ------
    KCircuitsError
        If the scores are another model's or another task's, or no edge is left.
    """
    scores.check_model(model.identity)
    for name, value in task.settings.items():
        if scores.settings.get(name) != value:
            raise KCircuitsError(
                f"the scores are of another task: {name} is {quote(scores.settings.get(name))} there and "
                f"{quote(value)} here"
            )
    start = perf_counter()
    spec = task.transform_spec(model.spec)
    edges = scores.edges(select(spec.graph, scores.matrix, selection))
    stats = {"seconds": round(seconds + perf_counter() - start, 3)}
    settings = {**scores.settings, **asdict(selection)}
    circuit = Circuit(spec.graph, model.identity, scores.method, settings, {}, edges, stats)
    return _measured(circuit, spec, task, budget_for(memory, [for_circuits(spec, task)]))


def attribute(
    model: Model,
    task: Task,
    method: Method,
    *,
    memory: int | str | None = None,
    progress: ProgressCallback | bool | None = None,
) -> Scores:
    """Score every edge of a model's graph for a task.

    Parameters
    ----------
    model, task, memory, progress
        As in `discover`.
    method
        One that scores all edges, such as `Eap()` or `EapIg(steps=5)`. Circuits of any size come from the
        result by `Scores.select`.

    Raises
    ------
    KCircuitsError
        If anything of the input cannot be used, or every score is 0.
    """
    spec = check_experiment(model, task, method)
    if not isinstance(method, Scorer):
        known = ", ".join(scoring_methods())
        raise KCircuitsError(f"{method.name} does not score all edges; methods that do: {known}")
    budget = budget_for(memory, [for_method(method, spec, task)])
    with show_progress(progress) as report:
        matrix = checked_scores(method, spec, task, budget, report)
    return Scores(spec.graph, model.identity, method.name, {**method.settings, **task.settings}, matrix)


def check_experiment(model: Model, task: Task, method: Method) -> ModelSpec:
    """The model with the task's changes, once all three are known to go together."""
    check_task(task)
    if not isinstance(method, Method):
        raise KCircuitsError(
            "method must be an object such as kcircuits.Acdc(threshold=0.01) or kcircuits.EapIg(), got "
            f"{quote(method)}"
        )
    if method.scores_all_edges:
        check_differences(task)
    method.check(model.spec, task)
    check_all_fit(model.spec, (*task.prompts, *task.reference))
    return task.transform_spec(model.spec)


def _check_belongings(
    method: Method, selection: Selection | None, scores: str | Path | None, checkpoint: str | Path | None
) -> None:
    """Refuse what the method has no use for."""
    if selection is not None and not method.scores_all_edges:
        raise KCircuitsError(f"{method.name} does not score all edges, so there is nothing to select from")
    if scores is not None and not method.writes_scores:
        raise KCircuitsError(f"{method.name} does not score all edges, so there are no scores to write")
    if checkpoint is not None and not method.resumes:
        able = ", ".join(name for name, each in METHODS.items() if each.resumes)
        raise KCircuitsError(f"a checkpoint is for {able} alone, got one for {method.name}")
    if scores is not None:
        check_output_file(scores)


def _measured(circuit: Circuit, spec: ModelSpec, task: Task, memory: int) -> Circuit:
    """The circuit with its metric, and those of all edges and of none."""
    give_back()  # what the search has freed would come on top
    masks = np.stack([spec.graph.valid, circuit.mask(), np.zeros_like(spec.graph.valid)])
    values = [clamp_metric(task.metric, value) for value in measure(spec, task, masks, memory)]
    full, own, empty = values
    if circuit.edges and full < empty and own - empty > TOLERANCE * (empty - full):
        warnings.warn(_worse_than_nothing(circuit, task, own, empty), KCircuitsWarning, stacklevel=3)
    return replace(circuit, metric=dict(zip(("full", "circuit", "empty"), values, strict=True)))


def _worse_than_nothing(circuit: Circuit, task: Task, own: float, empty: float) -> str:
    tries = suggest(circuit.method, task)
    tries.insert(task.ablation == "zero", "a larger circuit")
    return (
        f"the circuit's {task.metric} is {own:.4g}, worse than {empty:.4g} without any edge: try "
        f"{', or '.join(tries)}"
    )


def _check_agreement(running: float, fresh: float) -> None:
    if not math.isclose(running, fresh, rel_tol=TOLERANCE / 10, abs_tol=TOLERANCE):
        raise StaleMetricError(
            f"the search ended with the metric {running:.6g}, and a fresh run of its circuit gives "
            f"{fresh:.6g}: please report this as a bug of kcircuits, with the model and the prompts"
        )
