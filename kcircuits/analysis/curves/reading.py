"""How the answer emerges over layers in a model and its circuit (arXiv 2405.17969, figure 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kcircuits.analysis.curves.results import Curves, RunCurves
from kcircuits.analysis.layers import LayerReadout, Place, read_layers
from kcircuits.analysis.prepare import engines_with_prompts
from kcircuits.analysis.prompt_texts import texts_of
from kcircuits.circuit import Circuit
from kcircuits.data.prompts import Prompt
from kcircuits.engine.needs import for_circuits
from kcircuits.evaluation.prepare import check_whole, prepared
from kcircuits.model.loading import Model
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task


def layer_curves(
    model: Model,
    task: Task,
    circuit: Circuit | None = None,
    *,
    seed: int = 0,
    memory: int | str | None = None,
) -> Curves:
    """Read rank and probability of the answer from the residual stream after each layer.

    The stream after the first l layers goes through the final norm and the unembedding (logit lens). In the
    circuit's masked run, it is the input of the logits with only the senders of these layers: Σ a_s over
    present edges into the logits + Σ ã_s over absent ones + Σ b_O. So after all L layers it gives the
    prediction of the circuit, as measured by `kcircuits.evaluate`.

    Parameters
    ----------
    model
        From `kcircuits.load_model`.
    task
        Its prompts (those with a `subject` also get curves at the subject), and its ablation for the circuit.
        `Task.as_found` gives the task of a circuit's discovery.
    circuit
        A circuit of the model, whose masked run is read in addition to the full run.
    seed
        Random seed of the bootstrap over prompts.
    memory
        Bytes, or a size such as "8GiB", as in `kcircuits.evaluate`.

    Raises
    ------
    KCircuitsError
        If the circuit belongs to another model, or anything else of the input cannot be used.
    """
    check_whole("seed", seed)
    spec = prepared(model, task, circuit)
    # Ranks and probabilities do not depend on the metric, and the full run ablates nothing.
    task = replace(task, metric="nll", ablation="zero" if circuit is None else task.ablation)
    budget = budget_for(memory, [for_circuits(spec, task)])
    graph = spec.graph
    masks = np.stack([graph.valid] if circuit is None else [graph.valid, circuit.mask()])
    parts: list[np.ndarray] = []
    for engine, portion in engines_with_prompts(spec, task, budget):
        places = [
            [Place(start + position, prompt.answer_id) for position in _positions(prompt)]
            for start, prompt in zip(engine.starts, portion, strict=False)
        ]
        read = read_layers(spec, engine, masks, [each for of in places for each in of], budget)
        first = 0
        for of in places:
            parts.append(_of_prompt(read, slice(first, first + len(of))))
            first += len(of)
    measured = np.stack(parts, axis=2)  # [measures, M, N, L + 1]
    settings: dict[str, Any] = {"num_prompts": len(task.prompts), "seed": seed}
    if circuit is not None:
        settings |= {"ablation": task.ablation, "num_edges": len(circuit.edges)}
    return Curves(
        model=model.identity,
        settings=settings,
        prompts=texts_of(model, task.prompts),
        runs={name: RunCurves(*measured[:, m]) for m, name in enumerate(["full", "circuit"][: len(masks)])},
    )


def _positions(prompt: Prompt) -> list[int]:
    """The positions at which a prompt is read: its last token, then the subject's tokens."""
    return [len(prompt.clean_ids) - 1, *range(*(prompt.subject or (0, 0)))]


def _of_prompt(read: LayerReadout, places: slice) -> np.ndarray:
    """The measures of one prompt, [measures, M, L + 1], from the places of `_positions`."""
    rank, probability = read.rank[:, :, places], read.probability[:, :, places]
    none = np.full(rank.shape[:2], np.nan)
    has_subject = rank.shape[2] > 1
    best = rank[:, :, 1:].min(axis=2) if has_subject else none
    last = probability[:, :, -1] if has_subject else none
    return np.stack([rank[:, :, 0], probability[:, :, 0], best, last])
