"""In-context learning: the heads that examples add to a circuit, their attention and their effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from kcircuits.analysis.ablations import DRAWS, RunMeans, ablate_heads
from kcircuits.analysis.in_context.results import AddedHead, CircuitNodes, InContext
from kcircuits.analysis.prepare import plain_engines
from kcircuits.circuit import Circuit
from kcircuits.data.few_shot import PARTS, FewShotPair
from kcircuits.discovery import EapIg, Method
from kcircuits.discovery.run import check_experiment, discover
from kcircuits.engine.needs import for_circuits, for_method, for_readings
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.prepare import check_whole
from kcircuits.graph import head_of, kind_of, layer_of
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import budget_for
from kcircuits.scores.selection import Selection
from kcircuits.task import Ablation, Task

METHOD = EapIg()
SELECTION = Selection(top_n=300)


def in_context_learning(
    model: Model,
    pairs: Sequence[FewShotPair],
    method: Method = METHOD,
    *,
    selection: Selection = SELECTION,
    ablation: Ablation = "mean",
    draws: int = DRAWS,
    seed: int = 0,
    memory: int | str | None = None,
) -> InContext:
    """Compare the circuits of the same questions without and with examples (arXiv 2405.17969, figure 7b).

    Both circuits are found with the same method, metric (nll) and number of edges. The heads that are only in
    the circuit with examples are ablated in the full model, on questions with and without examples, and
    compared with the same number of random heads of the same layers.

    Parameters
    ----------
    model
        The model.
    pairs
        From `kcircuits.data.few_shot.few_shot_pairs`, at least one.
    method, selection
        A method that scores all edges, and which of them to take, as in `kcircuits.discover`.
    ablation
        "zero", or a mean over all questions of one kind, for discovery and for heads. There are no corrupt
        prompts. (Integrated gradients start at the ablated input, where zero ablation overflows.)
    draws, seed
        Number of random sets of heads, and the random seed.
    memory
        Bytes, or a size such as "8GiB", for activations.

    Raises
    ------
    KCircuitsError
        If there are no pairs, or anything of the input cannot be used.
    """
    if ablation == "corrupt":
        raise KCircuitsError("questions with examples have no corrupt prompts: use zero or mean ablation")
    if not pairs:
        raise KCircuitsError("there are no questions")
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0)):
        check_whole(name, value, least)
    tasks = {
        "zero-shot": Task(tuple(pair.zero_shot for pair in pairs), ablation),
        "few-shot": Task(tuple(pair.few_shot for pair in pairs), ablation),
    }
    needs = [for_readings(model.spec, tasks["few-shot"].prompts)]
    for task in tasks.values():
        spec = check_experiment(model, task, method)
        needs += [for_method(method, spec, task), for_circuits(spec, task)]
    budget = budget_for(memory, needs)
    circuits = {name: discover(model, task, method, selection, memory=budget) for name, task in tasks.items()}
    added = _added_heads(circuits["few-shot"], circuits["zero-shot"])
    runs, ablations = {}, {}
    for name, task in tasks.items():
        full, found = ablate_heads(model.spec, task, {"added": added}, draws=draws, seed=seed, memory=budget)
        runs[name] = RunMeans.from_run(full)
        ablations[name] = found[0].means() if found else None
    looks = _attention(model.spec, pairs, added, budget)
    return InContext(
        model=model.identity,
        settings={
            "num_prompts": len(pairs),
            "method": method.name,
            **method.settings,
            **asdict(selection),
            "ablation": ablation,
            "draws": draws,
            "seed": seed,
        },
        nodes={name: CircuitNodes(len(circuit.edges), circuit.nodes) for name, circuit in circuits.items()},
        runs=runs,
        added=tuple(
            AddedHead(node, _strength(circuits["few-shot"], node), dict(zip(PARTS, look, strict=True)))
            for node, look in zip(added, looks.tolist(), strict=True)
        ),
        ablations=ablations,
        circuits=circuits,
    )


def _added_heads(few_shot: Circuit, zero_shot: Circuit) -> list[str]:
    """The heads that are only in the first circuit, by falling strength."""
    heads = [node for node in few_shot.nodes if kind_of(node) == "head" and node not in zero_shot.nodes]
    return sorted(heads, key=lambda node: -_strength(few_shot, node))


def _strength(circuit: Circuit, node: str) -> float:
    """Sum of the absolute scores of a node's outgoing edges."""
    return sum(abs(edge.score) for edge in circuit.edges if edge.sender == node)


def _attention(
    spec: ModelSpec, pairs: Sequence[FewShotPair], heads: Sequence[str], memory: int
) -> np.ndarray:
    """Mean attention of heads from the last position to each part of the prompt, [heads, parts]."""
    total = np.zeros((len(heads), len(PARTS)))
    for engine, first in plain_engines(spec, [pair.few_shot for pair in pairs], memory):
        portion = pairs[first : first + engine.num_prompts]
        for layer in sorted({layer_of(head) or 0 for head in heads}):
            pattern = engine.attention(layer)[0].cpu().numpy()  # [H, N, T, T]
            for place, (its_layer, number) in enumerate(filter(None, map(head_of, heads))):
                if its_layer != layer:
                    continue
                for n, pair in enumerate(portion):
                    row = pattern[number, n, len(pair.parts) - 1]
                    for weight, part in zip(row, pair.parts, strict=False):
                        total[place, PARTS.index(part)] += weight
    return total / len(pairs)
