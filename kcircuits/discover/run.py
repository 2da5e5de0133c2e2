"""From a model and prompts to a circuit, measured, or to the scores of all edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.data.prompts import Prompt
from kcircuits.discover.acdc import Acdc
from kcircuits.discover.by_scores import check_differences, checked_scores
from kcircuits.discover.checkpoint import Checkpoint
from kcircuits.discover.methods import method_of, scorer_of
from kcircuits.discover.progress import ProgressCallback
from kcircuits.discover.search_identity import search_of
from kcircuits.engine import check_all_fit, measure
from kcircuits.errors import KCircuitsError
from kcircuits.files import check_output_file
from kcircuits.memory import budget_for, give_back
from kcircuits.metrics import Metric, reported
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.model.transforms import changed
from kcircuits.needs import for_circuits, for_method
from kcircuits.scores import Scores
from kcircuits.selection import Selection, select
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
    reference: Sequence[Prompt] = (),
    fold_value_biases: bool = False,
    keep_positions: bool = False,
    memory: int | str | None = None,
    progress: ProgressCallback | None = None,
    scores: str | Path | None = None,
    checkpoint: str | Path | None = None,
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
        One of `kcircuits.discover.METHODS` (docs/methods.md compares them): "acdc"
        (`kcircuits.discover.acdc.Acdc`); "edge-pruning" (`.edge_pruning.EdgePruning`); or one that scores
        all edges and selects the best, "eap", "eap-ig-inputs", "eap-ig-activations", "clean-corrupted",
        "relp" (all in `.eap`), "ifr" (`.ifr.Ifr`), "exact" (`.exact.Exact`).
    ablation
        What an absent edge carries: "zero"; the activation on the "corrupt" prompt; or its "mean", or
        "mean-positional", over the reference (`kcircuits.task.Task`).
    metric
        "nll", "kl" or "logit-diff" (`kcircuits.metrics`), averaged over prompts; lower is better.
    reference
        Prompts whose clean runs are averaged by the mean ablations; by default the prompts themselves.
    fold_value_biases
        Move value biases into the attention output's, which no ablation touches, as TransformerLens does.
    keep_positions
        Keep learned position embeddings in every stream, so that ablating `input` takes only the token
        embedding away, as EAP-IG's library does.
    memory
        Bytes, or a size such as "8GiB", for the search and for the final measurement, each by itself; it
        decides what is evaluated together, and never the result. The model's weights come on top. By default
        a quarter of the memory that is available, at most 4 GiB, or what is needed at least
        (`kcircuits.memory.budget_for`). "acdc" and "edge-pruning" take all prompts at once.
    progress
        Called several times a second with a `kcircuits.discover.Progress` or `Steps`; an exception ends the
        search.
    scores
        Where to write the scores of all edges (`kcircuits.scores.Scores.save`); not for "acdc".
    checkpoint
        For "acdc": a file that is written about once a second, and when the search is interrupted. Where it
        is there, the search goes on from it and ends with the same circuit, bit for bit, as if it had never
        stopped; a search without `memory` goes on with the budget that it had. The file stays when the
        search is done: remove it once the circuit is safe.
    **options
        The method's options. Methods that score all edges take those of `kcircuits.selection.Selection`,
        too: `top_n` or `threshold`, `absolute`, `greedy`, `level`.

    Returns
    -------
    Circuit
        With its metric from fresh masked runs ("full", "circuit", "empty"), and stats: "seconds" (of the
        search alone); for "acdc" also "tests" (what one forward per edge would have run), "evaluations"
        (hypotheses evaluated) and "chunks" (batches of them); for "edge-pruning" "steps".

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
    chosen = method_of(method, options)
    task = Task(tuple(prompts), ablation, metric, tuple(reference))
    chosen.check(model.spec, task)
    if scores is not None and method == "acdc":
        raise KCircuitsError("acdc does not score all edges, so there are no scores to write")
    if checkpoint is not None and method != "acdc":
        raise KCircuitsError(f"a checkpoint is for acdc alone, got one for {method}")
    if scores is not None:
        check_output_file(scores)
    check_all_fit(model.spec, (*task.prompts, *task.reference))
    kept = None if checkpoint is None else Checkpoint(checkpoint)
    spec = changed(model.spec, fold_value_biases=fold_value_biases, keep_positions=keep_positions)
    needs = [for_method(chosen.name, spec, task, chosen.settings), for_circuits(spec, task)]
    budget = budget_for(kept.memory if kept and memory is None else memory, needs)
    settings = {**chosen.settings, **how(task, fold_value_biases, keep_positions)}

    start = perf_counter()
    if kept is None:
        found = chosen.search(spec, task, budget, progress)
    else:
        assert isinstance(chosen, Acdc)
        kept.begin(search_of(spec, task, model.identity, settings, budget))
        found = chosen.search(spec, task, budget, progress, kept)
    seconds = perf_counter() - start + (kept.seconds if kept else 0)

    stats = {**found.stats, "seconds": round(seconds, 3)}
    circuit = Circuit(spec.graph, model.identity, chosen.name, settings, {}, found.edges, stats)
    measured = _measured(circuit, spec, task, budget)
    if found.metric is not None:
        _check_agreement(found.metric, measured.metric["circuit"])
    if scores is not None and found.scores is not None:
        Scores(spec.graph, model.identity, chosen.name, settings, found.scores).save(scores)
    return measured


def select_circuit(
    model: Model,
    prompts: Sequence[Prompt],
    scores: Scores,
    selection: Selection,
    *,
    memory: int | str | None = None,
    seconds: float = 0.0,
) -> Circuit:
    """The circuit that `discover` finds with a method that scores all edges, from scores that are there.

    Parameters
    ----------
    model, prompts
        Those that the scores were computed with by `attribute`, without a reference.
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
        If the scores are another model's or do not say how they were computed, or no edge is left.
    """
    scores.check_model(model.identity)
    start = perf_counter()
    given = scores.settings
    try:
        task = Task(tuple(prompts), given["ablation"], given["metric"])
        changes = {name: given[name] for name in ("fold_value_biases", "keep_positions")}
    except KeyError as error:
        raise KCircuitsError(f"the scores do not say with which {error} they were computed") from error
    spec = changed(model.spec, **changes)
    edges = scores.edges(select(spec.graph, scores.matrix, selection))
    stats = {"seconds": round(seconds + perf_counter() - start, 3)}
    settings = {**given, **asdict(selection)}
    circuit = Circuit(spec.graph, model.identity, scores.method, settings, {}, edges, stats)
    return _measured(circuit, spec, task, budget_for(memory, [for_circuits(spec, task)]))


def attribute(
    model: Model,
    prompts: Sequence[Prompt],
    method: str = "eap",
    *,
    ablation: Ablation = "corrupt",
    metric: Metric = "nll",
    reference: Sequence[Prompt] = (),
    fold_value_biases: bool = False,
    keep_positions: bool = False,
    memory: int | str | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Scores:
    """Score every edge of a model's graph for some prompts.

    Parameters are those of `discover`, for the methods that score all edges; `options` are the method's
    own (`qk_fix`, `ig_steps`), without a selection. Circuits of any size come from the result by
    `kcircuits.selection`.

    Raises
    ------
    KCircuitsError
        If anything of the input cannot be used, or every score is 0.
    """
    scorer = scorer_of(method, options)
    task = Task(tuple(prompts), ablation, metric, tuple(reference))
    check_differences(task)
    scorer.check(model.spec, task)
    check_all_fit(model.spec, (*task.prompts, *task.reference))
    spec = changed(model.spec, fold_value_biases=fold_value_biases, keep_positions=keep_positions)
    budget = budget_for(memory, [for_method(method, spec, task, vars(scorer))])
    matrix = checked_scores(scorer, spec, task, budget, progress)
    settings = {**vars(scorer), **how(task, fold_value_biases, keep_positions)}
    return Scores(spec.graph, model.identity, method, settings, matrix)


def _measured(circuit: Circuit, spec: ModelSpec, task: Task, memory: int) -> Circuit:
    """The circuit with its metric, and those of all edges and of none."""
    give_back()  # what the search has freed would come on top
    masks = np.stack([spec.graph.valid, circuit.mask(), np.zeros_like(spec.graph.valid)])
    values = [reported(task.metric, value) for value in measure(spec, task, masks, memory)]
    return replace(circuit, metric=dict(zip(("full", "circuit", "empty"), values, strict=True)))


def how(task: Task, fold_value_biases: bool, keep_positions: bool) -> dict[str, Any]:
    """What the settings of a circuit or of scores say beside the method's options."""
    return {
        "ablation": task.ablation,
        "metric": task.metric,
        "fold_value_biases": fold_value_biases,
        "keep_positions": keep_positions,
        "num_prompts": len(task.prompts),
        **({"num_reference": len(task.reference)} if task.reference else {}),
    }


def _check_agreement(running: float, fresh: float) -> None:
    if not math.isclose(running, fresh, rel_tol=TOLERANCE / 10, abs_tol=TOLERANCE):
        raise StaleMetricError(
            f"the search ended with the metric {running:.6g}, and a fresh run of its circuit gives "
            f"{fresh:.6g}: please report this as a bug of kcircuits, with the model and the prompts"
        )
