"""What the study asks of one relation: facts known, the circuit on one half of them, its worth on both."""

from __future__ import annotations

from statistics import fmean
from time import perf_counter
from typing import Any

import kcircuits
from kcircuits.data.halves import split_halves
from kcircuits.data.lre import Relation
from kcircuits.data.relations import RelationPrompts, known_prompts
from kcircuits.errors import KCircuitsError
from kcircuits.evaluate import answer_ranks
from kcircuits.evaluate.sizes import size_curve

MOST_PROMPTS = 400  # of a relation; some files have a thousand samples
LEAST_KNOWN = 8
HALF = 24  # prompts of a half that are used
FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
FAITHFUL = 0.8
RANDOM_CIRCUITS = 5
SEED = 0
SETTINGS = {
    "method": "eap-ig-inputs, 5 steps",
    "ablation": "corrupt",
    "metric": "nll",
    "faithfulness": FAITHFUL,
    "prompts_of_a_half": HALF,
    "random_circuits": RANDOM_CIRCUITS,
}


def prompts_about(model: kcircuits.Model, relation: Relation) -> RelationPrompts:
    """Pairs of prompts about the relation; of an answer that is several tokens, the first."""
    spec = model.spec
    return kcircuits.relation_prompts(
        relation,
        model.tokenizer,
        spec.vocab_size,
        spec.max_positions,
        limit=MOST_PROMPTS,
        shuffle_seed=SEED,
        corrupt=True,
        allow_multi_token=True,
    )


def study_relation(
    model: kcircuits.Model, relation: Relation
) -> tuple[dict[str, Any], kcircuits.Circuit | None]:
    """Measure one relation; the circuit is None where the model knows too few of its facts.

    Half of the known facts choose the circuit: its edges are the best of EAP-IG, as few as give a
    faithfulness of 0.8. The other half has no part in that.
    """
    start = perf_counter()
    try:
        prompts = prompts_about(model, relation).prompts
    except KCircuitsError:  # no fact has a partner of the same length
        prompts = ()
    known = known_prompts(prompts, answer_ranks(model, prompts))
    found: dict[str, Any] = {"name": relation.name, "prompts": len(prompts), "known": len(known)}
    if len(known) < LEAST_KNOWN:
        return found, None
    validation, test = (half[:HALF] for half in split_halves(known, SEED))
    scores = kcircuits.attribute(model, validation, "eap-ig-inputs", ablation="corrupt", metric="nll")
    curve = size_curve(scores, model, validation, fractions=FRACTIONS)
    fraction = next(
        (
            share
            for share, value in zip(curve.fractions, curve.faithfulness, strict=True)
            if value is not None and value >= FAITHFUL
        ),
        curve.fractions[-1],
    )
    edges = int(fraction * scores.graph.num_edges)
    mask = kcircuits.select(scores.graph, scores.matrix, kcircuits.Selection(top_n=edges))
    settings = {**scores.settings, "top_n": edges}
    circuit = kcircuits.Circuit(
        scores.graph, scores.model, scores.method, settings, {}, scores.edges(mask), {}
    )
    found |= {
        "tokens": max(len(prompt.clean_ids) for prompt in known),
        "edges": len(circuit.edges),
        "nodes": len(circuit.nodes),
        "share_of_edges": len(circuit.edges) / scores.graph.num_edges,
        "sizes": curve.to_json(),
        "validation": measured(circuit, model, validation),
        "test": measured(circuit, model, test),
        "seconds": round(perf_counter() - start, 1),
    }
    return found, circuit


def measured(circuit: kcircuits.Circuit, model: kcircuits.Model, prompts: Any) -> dict[str, Any]:
    """The full model, the circuit and random circuits of its size on one half."""
    evaluation = kcircuits.evaluate(circuit, model, prompts, random_circuits=RANDOM_CIRCUITS, seed=SEED)
    random = [value for value in evaluation.random_faithfulness if value is not None]
    return {
        "prompts": len(prompts),
        "full": evaluation.full.hit_at_10,
        "circuit": evaluation.circuit.hit_at_10,
        "random": fmean(run.hit_at_10 for run in evaluation.random),
        "empty": evaluation.empty.hit_at_10,
        "faithfulness": evaluation.faithfulness,
        "random_faithfulness": fmean(random) if random else None,
    }
