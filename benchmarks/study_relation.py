"""The study of one relation: known facts, the circuit on one half of them, and its evaluation on both."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from time import perf_counter
from typing import Any

import kcircuits
from kcircuits.analysis.roles.results import ROLES
from kcircuits.data.halves import split_halves
from kcircuits.data.lre import Relation
from kcircuits.data.relations import RelationPrompts, known_prompts
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import answer_ranks
from kcircuits.evaluation.sizes import SizeCurve, size_curve
from kcircuits.task import Task

MOST_PROMPTS = 400  # of a relation; some files have a thousand samples
LEAST_KNOWN = 8
HALF = 24  # prompts to use of each half
FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
FAITHFUL = 0.8
RANDOM_CIRCUITS = 5
SEED = 0
COMPARED_EDGES = 300  # one size for all compared circuits, because overlap depends on size
ROLE_HEADS, ROLE_PROMPTS, ROLE_DRAWS = 20, 12, 3
SETTINGS = {
    "method": "eap-ig-inputs, 5 steps",
    "ablation": "corrupt",
    "metric": "nll",
    "faithfulness": FAITHFUL,
    "prompts_of_a_half": HALF,
    "random_circuits": RANDOM_CIRCUITS,
    "compared_edges": COMPARED_EDGES,
    "role_heads": ROLE_HEADS,
    "role_prompts": ROLE_PROMPTS,
}


def prompts_about(model: kcircuits.Model, relation: Relation) -> RelationPrompts:
    """Pairs of prompts of the relation, with the first token of each answer."""
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
    """Measure one relation. The circuit of 300 edges is None if the model knows too few facts.

    One half of the known facts chooses the circuit: the fewest best edges of EAP-IG with a faithfulness of
    0.8. The other half is used only for evaluation.
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
    scores = kcircuits.attribute(
        model, kcircuits.Task(validation, "corrupt", metric="nll"), kcircuits.EapIg()
    )
    curve = size_curve(model, Task.as_found(scores, validation), scores, fractions=FRACTIONS)
    circuit = best_edges(scores, int(least_fraction(curve) * scores.graph.num_edges))
    found |= {
        "tokens": max(len(prompt.clean_ids) for prompt in known),
        "edges": len(circuit.edges),
        "nodes": len(circuit.nodes),
        "share_of_edges": len(circuit.edges) / scores.graph.num_edges,
        "sizes": curve.to_json(),
        "validation": measure_circuit(circuit, model, validation),
        "test": measure_circuit(circuit, model, test),
        "roles": roles_of(model, test[:ROLE_PROMPTS]),
        "seconds": round(perf_counter() - start, 1),
    }
    return found, best_edges(scores, COMPARED_EDGES)


def least_fraction(curve: SizeCurve) -> float:
    """The smallest share of edges that is faithful enough, or the largest share."""
    pairs = zip(curve.fractions, curve.faithfulness, strict=True)
    enough = (share for share, value in pairs if value is not None and value >= FAITHFUL)
    return next(enough, curve.fractions[-1])


def best_edges(scores: kcircuits.Scores, count: int) -> kcircuits.Circuit:
    """The circuit of the best edges."""
    mask = kcircuits.select(scores.graph, scores.matrix, kcircuits.Selection(top_n=count))
    settings = {**scores.settings, "top_n": count}
    return kcircuits.Circuit(scores.graph, scores.model, scores.method, settings, {}, scores.edges(mask), {})


def roles_of(model: kcircuits.Model, prompts: Sequence[kcircuits.Prompt]) -> dict[str, Any]:
    """Roles of the heads with the largest contributions, and Hit@10 without them."""
    found = kcircuits.head_roles(
        model, kcircuits.Task(prompts, "zero"), strongest=ROLE_HEADS, draws=ROLE_DRAWS, seed=SEED
    )
    by_role = {role: [head.node for head in found.heads if head.role == role] for role in ROLES}
    return {
        "heads": by_role,
        "hit_full": found.full.hit,
        "hit_without": {each.name: [each.means.hit, each.random["hit"][1]] for each in found.ablations},
    }


def measure_circuit(circuit: kcircuits.Circuit, model: kcircuits.Model, prompts: Any) -> dict[str, Any]:
    """The full model, the circuit and random circuits of its size on one half."""
    evaluation = kcircuits.evaluate(
        model, kcircuits.Task.as_found(circuit, prompts), circuit, random_circuits=RANDOM_CIRCUITS, seed=SEED
    )
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
