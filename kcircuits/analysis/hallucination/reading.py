"""Where a wrong answer overtakes the right one, and by which nodes (arXiv 2405.17969, figure 7a)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from kcircuits.analysis.direct_logit_attribution import direct_logits
from kcircuits.analysis.hallucination.continuations import separate_continuations
from kcircuits.analysis.hallucination.results import (
    AnswerCurve,
    Decision,
    Hallucination,
    Hallucinations,
    recurring_nodes,
)
from kcircuits.analysis.layers import Place, read_layers
from kcircuits.analysis.prepare import engines_with_prompts
from kcircuits.analysis.prompt_texts import texts_of
from kcircuits.data.prompts import Prompt
from kcircuits.engine import engines_for_circuits
from kcircuits.engine.needs import for_circuits, for_readings
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.model.loading import Model
from kcircuits.model.quantised import dense
from kcircuits.model.spec import ModelSpec
from kcircuits.ops import vocab_readout
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task


def hallucinations(
    model: Model, prompts: Sequence[Prompt], *, memory: int | str | None = None
) -> Hallucinations:
    """Find out where wrong answers overtake the right ones, and which nodes decide it.

    The wrong answer is a prompt's own (`wrong_id`), or else the model's most likely token. Prompts on which
    it does not end up ahead of the right one are left out. So are those where the most likely token continues
    the sentence without answering, such as " both" or " the"
    (`kcircuits.analysis.hallucination.continuations`): `settings["continuations"]` counts these words.
    Curves are the logit lens of the full run, as in `kcircuits.layer_curves`; a node decides by its direct
    logit to the wrong answer above that to the right one (`kcircuits.analysis.direct_logit_attribution`).

    Parameters
    ----------
    model, prompts
        The model, and prompts for it, at least one.
    memory
        Bytes, or a size such as "8GiB", for activations.

    Raises
    ------
    KCircuitsError
        If the model makes no error, or a prompt does not fit it.
    """
    spec, task = model.spec, Task(tuple(prompts), "zero")
    given = task.prompts
    budget = budget_for(memory, [for_circuits(spec, task), for_readings(spec, given)])
    tops = _most_likely(spec, given, budget)
    errors = [
        replace(prompt, wrong_id=top if prompt.wrong_id is None else prompt.wrong_id)
        for prompt, top in zip(given, tops, strict=True)
        if prompt.wrong_id is not None or top != prompt.answer_id
    ]
    own = [
        prompt.wrong_id is not None
        for prompt, top in zip(given, tops, strict=True)
        if prompt.wrong_id is not None or top != prompt.answer_id
    ]
    errors, words = separate_continuations(model.tokenizer, errors, own)
    found = _explain(model, errors, budget) if errors else []
    if not found:
        instead = (
            f"; {words.total()} times it continues the sentence, as by {next(iter(words))!r}" if words else ""
        )
        raise KCircuitsError(
            f"the model makes no error on the {len(given)} prompts: no wrong answer is ahead of the right "
            f"one{instead}; give others (of a relation, --top-k 0 takes all facts)"
        )
    settings: dict[str, Any] = {"num_prompts": len(given), "num_errors": len(found)}
    if words:
        settings["continuations"] = dict(words.most_common())
    return Hallucinations(model.identity, settings, tuple(found), recurring_nodes(found))


def _most_likely(spec: ModelSpec, prompts: Sequence[Prompt], memory: int) -> list[int]:
    """The token that the full model finds most likely, of each prompt."""
    tops: list[int] = []
    for engine in engines_for_circuits(spec, Task(tuple(prompts), "zero"), memory):
        rows = engine.full_rows()
        read = vocab_readout(rows, dense(spec.unembedding), None, spec.unembedding_bias, topk=1)
        tops += read.topk_ids[:, 0].tolist()
    return tops


def _explain(model: Model, prompts: Sequence[Prompt], memory: int) -> list[Hallucination]:
    """The prompts on which the wrong answer ends up ahead."""
    spec = model.spec
    wrong_ids = [prompt.wrong_id for prompt in prompts if prompt.wrong_id is not None]
    rank, probability = _curves(spec, prompts, memory)
    right = direct_logits(spec, prompts, [prompt.answer_id for prompt in prompts], memory)
    wrong = direct_logits(spec, prompts, wrong_ids, memory)
    difference = wrong.logit - right.logit  # [S, N]
    total = wrong.total - right.total
    found = []
    for n, text in enumerate(texts_of(model, prompts)):
        layer = overtaking_layer(probability[0, n], probability[1, n])
        if layer is None or total[n] <= 0:
            continue
        right_curve, wrong_curve = (
            AnswerCurve(tuple(rank[k, n].tolist()), tuple(probability[k, n].tolist())) for k in (0, 1)
        )
        found.append(
            Hallucination(
                text=text,
                right=right_curve,
                wrong=wrong_curve,
                overtakes=layer,
                best_layer=int(rank[0, n].argmin()),
                difference=float(total[n]),
                nodes=_decisions(spec.graph, difference[:, n], float(total[n])),
            )
        )
    return found


def overtaking_layer(right: np.ndarray, wrong: np.ndarray) -> int | None:
    """The first layer from which on the wrong answer is the likelier one; None where it is not at the end.

    Examples
    --------
    >>> overtaking_layer(np.array([0.1, 0.3, 0.2, 0.1]), np.array([0.2, 0.1, 0.4, 0.5]))
    2
    """
    behind = np.flatnonzero(wrong <= right)
    first = int(behind[-1]) + 1 if len(behind) else 0
    return first if first < len(right) else None


def _curves(spec: ModelSpec, prompts: Sequence[Prompt], memory: int) -> tuple[np.ndarray, np.ndarray]:
    """Rank and probability of right and wrong answers in the full run, each [2, N, L + 1]."""
    ranks: list[np.ndarray] = []
    probabilities: list[np.ndarray] = []
    for engine, portion in engines_with_prompts(spec, Task(tuple(prompts), "zero"), memory):
        rows = (torch.tensor(engine.starts[1:]) - 1).tolist()
        places = [Place(row, prompt.answer_id) for row, prompt in zip(rows, portion, strict=True)]
        places += [Place(row, prompt.wrong_id or 0) for row, prompt in zip(rows, portion, strict=True)]
        read = read_layers(spec, engine, spec.graph.valid[None], places, memory)
        for parts, values in ((ranks, read.rank), (probabilities, read.probability)):
            parts.append(values[0].T.reshape(2, len(portion), -1))
    return np.concatenate(ranks, axis=1), np.concatenate(probabilities, axis=1)


def _decisions(graph: Graph, difference: np.ndarray, total: float) -> tuple[Decision, ...]:
    order = difference.argsort(kind="stable")[::-1]
    return tuple(
        Decision(graph.senders[s], float(difference[s]), float(difference[s]) / total) for s in order
    )
