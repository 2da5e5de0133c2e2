"""Measure a circuit, what it leaves out, the full model, nothing and random circuits in one batch of runs."""

from __future__ import annotations

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.data.metrics import RANDOM_CIRCUITS
from kcircuits.engine.needs import for_circuits
from kcircuits.evaluation.evaluation import Evaluation
from kcircuits.evaluation.measure import measure_runs
from kcircuits.evaluation.measures import HIT_RANK
from kcircuits.evaluation.prepare import check_whole, prepared
from kcircuits.model.loading import Model
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task


def evaluate(
    model: Model,
    task: Task,
    circuit: Circuit,
    *,
    random_circuits: int = RANDOM_CIRCUITS,
    seed: int = 0,
    hit_k: int = HIT_RANK,
    memory: int | str | None = None,
) -> Evaluation:
    """Measure a circuit on a task.

    Parameters
    ----------
    model
        The model that the circuit was found in.
    task
        What to measure it on: the task that it was found for, or other prompts (`Task.as_found` asks the
        same of them; `kcircuits.data.halves` splits prompts).
    circuit
        From `kcircuits.discover`, `Scores.select` or `Circuit.load`.
    random_circuits
        With how many random connected circuits of the same size to compare.
    seed
        Random circuit i is drawn with seed + i; also of the bootstrap.
    hit_k
        The k of Hit@k.
    memory
        Bytes, or a size such as "8GiB", for activations: of the prompts, taken in portions that fit, and of
        the circuits that run together. The default is that of `kcircuits.discover`.

    Raises
    ------
    KCircuitsError
        If the circuit belongs to another model, or anything else of the input cannot be used.
    """
    spec = prepared(model, task, circuit)
    check_whole("random_circuits", random_circuits)
    check_whole("seed", seed)
    check_whole("hit_k", hit_k, least=1)
    budget = budget_for(memory, [for_circuits(spec, task)])

    graph, mask = circuit.graph, circuit.mask()
    count = random_circuits if circuit.edges else 0
    drawn = [
        random_connected_mask(graph, len(circuit.edges), np.random.default_rng(seed + i))
        for i in range(count)
    ]
    masks = np.stack([graph.valid, mask, graph.valid & ~mask, np.zeros_like(mask), *drawn])
    full, found, complement, empty, *random = measure_runs(spec, task, masks, budget)
    return Evaluation(
        model=model.identity,
        ablation=task.ablation,
        metric=task.metric,
        fold_value_biases=task.fold_value_biases,
        num_edges=len(circuit.edges),
        num_graph_edges=graph.num_edges,
        num_nodes=len(circuit.nodes),
        seed=seed,
        hit_k=hit_k,
        full=full,
        circuit=found,
        complement=complement,
        empty=empty,
        random=tuple(random),
    )
