"""The layer where a wrong answer takes the lead, and the nodes that decide (arXiv 2405.17969, figure 7a)."""

from __future__ import annotations

from collections import Counter
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
    left_out_by,
    recurring_nodes,
)
from kcircuits.analysis.layers import Place, read_layers
from kcircuits.analysis.prepare import engines_with_prompts
from kcircuits.analysis.prompt_texts import texts_of
from kcircuits.data.prompts import Prompt
from kcircuits.engine.needs import for_circuits, for_readings
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.prepare import check_whole, prepared
from kcircuits.graph import Graph
from kcircuits.model.loading import Model
from kcircuits.model.quantised import dense
from kcircuits.model.spec import ModelSpec
from kcircuits.ops import vocab_readout
from kcircuits.runtime.memory import budget_for
from kcircuits.task import Task


def hallucinations(
    model: Model, task: Task, *, rank_limit: int | None = None, memory: int | str | None = None
) -> Hallucinations:
    """Find the layers where wrong answers take the lead over the right ones, and the nodes that decide.

    The wrong answer is the prompt's own (`wrong_id`), or else the model's most likely token. Prompts whose
    right answer is ahead after the last layer are left out. So are prompts whose most likely token continues
    the sentence without answering, such as " both" or " the"
    (`kcircuits.analysis.hallucination.continuations`); `settings["continuations"]` counts these words.
    Curves are the logit lens of the full run, as in `kcircuits.layer_curves`. A node decides by its direct
    contribution to logit(wrong) − logit(right) (`kcircuits.analysis.direct_logit_attribution`).

    Parameters
    ----------
    model
        From `kcircuits.load_model`.
    task
        Its prompts are read in the model with the task's changes to the graph. Nothing is ablated.
    rank_limit
        Leave out prompts whose right answer has a rank above this limit in the full model, because the model
        does not know the answer. `settings["beyond_rank_limit"]` counts them. By default there is no limit.
    memory
        Bytes, or a size such as "8GiB", for activations.

    Raises
    ------
    KCircuitsError
        If the model makes no errors, or a prompt does not fit it.
    """
    if rank_limit is not None:
        check_whole("rank_limit", rank_limit, least=1)
    spec = prepared(model, task)
    plain = replace(task, ablation="zero", metric="nll", reference=())
    budget = budget_for(memory, [for_circuits(spec, plain), for_readings(spec, plain.prompts)])
    settings: dict[str, Any] = {"num_prompts": len(plain.prompts)}
    wrong = []
    beyond = 0
    for prompt, (top, rank) in zip(plain.prompts, _predictions(spec, plain, budget), strict=True):
        if rank_limit is not None and rank > rank_limit:
            beyond += 1
        elif prompt.wrong_id is not None or top != prompt.answer_id:
            wrong.append((prompt, top))
    errors, words = separate_continuations(
        model.tokenizer,
        [prompt if prompt.wrong_id is not None else replace(prompt, wrong_id=top) for prompt, top in wrong],
        [prompt.wrong_id is not None for prompt, _ in wrong],
    )
    found = _explain(model, spec, errors, budget) if errors else []
    if not found:
        raise KCircuitsError(_no_error(len(plain.prompts), words, beyond, rank_limit))
    settings["num_errors"] = len(found)
    if rank_limit is not None:
        settings |= {"rank_limit": rank_limit, "beyond_rank_limit": beyond}
    if words:
        settings["continuations"] = dict(words.most_common())
    return Hallucinations(model.identity, settings, tuple(found), recurring_nodes(found))


def _no_error(count: int, words: Counter[str], beyond: int, rank_limit: int | None) -> str:
    """The error if there is nothing to read, with advice."""
    instead = (
        f"; {words.total()} times it continues the sentence, as by {next(iter(words))!r}" if words else ""
    )
    left_out = f"; {left_out_by(rank_limit, beyond)}" if rank_limit and beyond else ""
    return (
        f"the model makes no error on the {count} prompts: no wrong answer is ahead of the right "
        f"one{instead}{left_out}; give others (of a relation, --top-k 0 takes all facts)"
    )


def _predictions(spec: ModelSpec, task: Task, memory: int) -> list[tuple[int, int]]:
    """The full model's most likely token, and the rank of the right answer, of each prompt."""
    found: list[tuple[int, int]] = []
    for engine, portion in engines_with_prompts(spec, task, memory):
        rows = engine.full_rows()
        answers = torch.tensor([prompt.answer_id for prompt in portion]).to(rows.device)
        read = vocab_readout(rows, dense(spec.unembedding), answers, spec.unembedding_bias, topk=1)
        found += zip(read.topk_ids[:, 0].tolist(), read.ranks.tolist(), strict=True)
    return found


def _explain(model: Model, spec: ModelSpec, prompts: Sequence[Prompt], memory: int) -> list[Hallucination]:
    """The prompts on which the wrong answer is ahead after the last layer."""
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
    """The first layer from which the wrong answer stays more likely; None if it is not ahead at the end.

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
