"""Roles of heads: movers carry the subject's attribute, relation heads that of the relation's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kcircuits.analysis.ablations import DRAWS, RunMeans, ablate_heads
from kcircuits.analysis.bands import bootstrap_band
from kcircuits.analysis.direct_logit_attribution import Unembedding, direct_logits
from kcircuits.analysis.prepare import plain_engines
from kcircuits.analysis.roles.results import ROLES, HeadRole, MlpWrite, Roles, ratio_of
from kcircuits.analysis.roles.writes import source_writes
from kcircuits.circuit import Circuit
from kcircuits.data.prompts import Prompt
from kcircuits.data.tokens import tokenise_text
from kcircuits.engine.needs import for_circuits, for_readings
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.intervals import percentile_interval, resampling_weights
from kcircuits.evaluation.prepare import check_whole, prepared
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task

STRONGEST = 20


def head_roles(
    model: Model,
    task: Task,
    circuit: Circuit | None = None,
    *,
    strongest: int | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    memory: int | str | None = None,
) -> Roles:
    """Find the heads that carry the subject's attribute and those that carry the relation, and their effect.

    A head's write is what it adds to the answer's logit at the last position, split by source token
    (`kcircuits.analysis.roles.writes`): the subject's tokens, and the relation's, which are all others except
    special tokens at the start. Writes are signed and are summed within each group. The ratio is that of the
    absolute values of their means over prompts, so a head that suppresses the answer because of the subject
    is a mover with a negative `subject_write`. Heads with a ratio above 10 are movers, below 0.1 relation
    heads, and mixtures in between. Heads that write nothing have no role.

    Parameters
    ----------
    model
        From `kcircuits.load_model`.
    task
        Prompts of one relation, each with a subject, and the ablation for the outputs of heads. The effect of
        heads is always measured by the answer's NLL, independent of the task's metric.
    circuit
        A circuit of the model, whose heads and MLPs are read.
    strongest
        Only this number of heads, by the mean of |write|; by default all of the circuit, or `STRONGEST`.
    draws, seed
        Number of random sets of heads for comparison (`kcircuits.analysis.ablations`), and the random seed,
        also used for the bootstrap.
    memory
        Bytes, or a size such as "8GiB", for activations.

    Raises
    ------
    KCircuitsError
        If a prompt has no subject, the circuit belongs to another model, or anything else cannot be used.
    """
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0)):
        check_whole(name, value, least)
    if strongest is None:
        strongest = STRONGEST if circuit is None else None
    else:
        check_whole("strongest", strongest, least=1)
    spec = prepared(model, task, circuit)
    for number, prompt in enumerate(task.prompts, start=1):
        if prompt.subject is None:
            raise KCircuitsError(f"roles need a subject in each prompt, and prompt {number} has none")
    task = replace(task, metric="nll")
    budget = budget_for(memory, [for_readings(spec, task.prompts), for_circuits(spec, task)])
    writes = _writes(model, spec, task.prompts, budget)
    nodes = spec.graph.senders if circuit is None else circuit.nodes
    heads = _roles(spec, writes, nodes, seed)[:strongest]
    groups: dict[str, list[str]] = {
        role: [head.node for head in heads if head.role == role] for role in ROLES
    }
    full, ablations = ablate_heads(spec, task, groups, draws=draws, seed=seed, memory=budget)
    settings = {"num_prompts": len(task.prompts), "ablation": task.ablation, "draws": draws, "seed": seed}
    return Roles(
        model=model.identity,
        settings=settings,
        heads=tuple(heads),
        mlps=_mlps(spec, task.prompts, nodes, seed, budget),
        full=RunMeans.from_run(full),
        ablations=tuple(each.means() for each in ablations),
    )


def _writes(model: Model, spec: ModelSpec, prompts: Sequence[Prompt], memory: int) -> np.ndarray:
    """The writes of all heads from the subject and from the relation, float64 [2, L * H, N]."""
    unembedding = Unembedding.from_spec(spec)
    columns = []
    for engine, first in plain_engines(spec, prompts, memory):
        portion = prompts[first : first + engine.num_prompts]
        for prompt, writes in zip(portion, source_writes(unembedding, engine, portion), strict=True):
            assert prompt.subject is not None
            begin, end = prompt.subject
            text = writes[:, _num_special(model, prompt) :].sum(axis=1)
            of_subject = writes[:, begin:end].sum(axis=1)
            columns.append(np.stack([of_subject, text - of_subject]))
    return np.stack(columns, axis=2)


def _num_special(model: Model, prompt: Prompt) -> int:
    """Number of special tokens at the start of the text."""
    if model.tokenizer is None or prompt.text is None:
        return 0
    return len(prompt.clean_ids) - tokenise_text(model.tokenizer, prompt.text, "clean").num_text_ids


def _roles(spec: ModelSpec, writes: np.ndarray, nodes: Sequence[str], seed: int) -> list[HeadRole]:
    """The heads among some nodes that have any write, by falling mean |write|."""
    names = [node.name for node in spec.graph.nodes if node.kind == "head"]
    strength = np.abs(writes.sum(axis=0)).mean(axis=1)
    weights = resampling_weights(writes.shape[2], seed)
    found = []
    for index in strength.argsort(kind="stable")[::-1]:
        subject, relation = writes[:, index]
        if names[index] not in nodes or not writes[:, index].any():
            continue
        ratio = ratio_of(subject.mean(), relation.mean())
        low = high = ratio
        if weights is not None:
            pairs = zip(weights @ subject, weights @ relation, strict=True)
            low, high = percentile_interval(np.array([ratio_of(*pair) for pair in pairs]))
        found.append(HeadRole(names[index], tuple(subject), tuple(relation), ratio, low, high))
    return found


def _mlps(
    spec: ModelSpec, prompts: Sequence[Prompt], nodes: Sequence[str], seed: int, memory: int
) -> tuple[MlpWrite, ...]:
    logits = direct_logits(spec, prompts, [prompt.answer_id for prompt in prompts], memory).logit
    band = bootstrap_band(logits.T, seed)
    found = [
        MlpWrite(node.name, float(band.mean[s]), float(band.low[s]), float(band.high[s]))
        for s, node in enumerate(spec.graph.nodes)
        if node.kind == "mlp" and node.name in nodes and band.low[s] > 0
    ]
    return tuple(sorted(found, key=lambda mlp: -mlp.logit))
