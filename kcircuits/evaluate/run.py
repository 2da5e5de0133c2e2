"""Measure a circuit, what it leaves out, the full model, nothing and random circuits in one batch of runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.data.prompts import Prompt
from kcircuits.evaluate.evaluation import Evaluation
from kcircuits.evaluate.measure import measure_runs
from kcircuits.evaluate.measures import HIT_RANK
from kcircuits.evaluate.prepare import check_whole, is_folded, spec_and_task
from kcircuits.memory import budget_for
from kcircuits.metrics import Metric
from kcircuits.model.loading import Model
from kcircuits.needs import for_circuits
from kcircuits.random_circuits import random_connected_mask
from kcircuits.task import Ablation

RANDOM_CIRCUITS = 10


def evaluate(
    circuit: Circuit,
    model: Model,
    prompts: Sequence[Prompt],
    *,
    ablation: Ablation | None = None,
    metric: Metric | None = None,
    reference: Sequence[Prompt] = (),
    random_circuits: int = RANDOM_CIRCUITS,
    seed: int = 0,
    hit_k: int = HIT_RANK,
    memory: int | str | None = None,
) -> Evaluation:
    """Measure a circuit on some prompts.

    Parameters
    ----------
    circuit
        From `kcircuits.discover` or `Circuit.load`. Value biases are folded if they were when it was found.
    model
        The model that the circuit was found in.
    prompts
        The prompts that it was found on, or others (`kcircuits.data.halves`).
    ablation, metric
        As in `kcircuits.discover`; by default those that the circuit was found with ("zero" and "nll" if it
        does not say).
    reference
        Prompts for mean ablation, as in `kcircuits.discover`.
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
    spec, task = spec_and_task(circuit, model, prompts, ablation, metric, reference)
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
        fold_value_biases=is_folded(circuit),
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
