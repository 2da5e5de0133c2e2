"""Why neighbours break: similarity of neighbours to an edited fact, and the effect of the edit on them.

A rank-one edit W' = W + Λ (C⁻¹k)ᵀ / (kᵀC⁻¹k) (ROME, arXiv 2202.05262, equation 2) writes to a key k' exactly
the share kᵀC⁻¹k' / kᵀC⁻¹k of what it writes to its own, Λ = v* − Wk: W'k' − Wk' = share · Λ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kcircuits.analysis.comparison.overlap import jaccard
from kcircuits.data.prompts import Prompt
from kcircuits.discovery import Eap, Method
from kcircuits.discovery.run import attribute
from kcircuits.editing.delta import LowRank
from kcircuits.editing.edit import EditedModel
from kcircuits.editing.facts import last_logits, old_prompt, question_prompt, subject_end
from kcircuits.editing.request import EditRequest, Question
from kcircuits.editing.second_moment import SecondMoment
from kcircuits.editing.stream import pad_right, run_to_mlp
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import Model
from kcircuits.scores.selection import Selection, choose_edges
from kcircuits.task import Ablation, Task

METHOD = Eap()
SELECTION = Selection(top_n=200)
"""Which edges are compared."""


@dataclass(frozen=True)
class Neighbour:
    """One neighbour of an edit. Measures are about the first token of its answer.

    Parameters
    ----------
    prompt, answer, subject
        The question and its subject.
    key_cosine
        Cosine between its key (the input of the edited w_down at the subject's last token) and the edited
        key.
    key_overlap
        kᵀC⁻¹k' / kᵀC⁻¹k: the share of the edit's value that is added for its key.
    circuit_overlap
        Jaccard index of the edges selected for it and for the edited fact in the original model, without
        pruning of dead ends.
    margin
        Before the edit, p(answer) − p(the most likely other token).
    change
        log p(answer) after the edit − before, in nats.
    said, broken
        Whether the original model predicted the answer, and whether the edited one no longer does.
    """

    prompt: str
    answer: str
    subject: str
    key_cosine: float
    key_overlap: float
    circuit_overlap: float
    margin: float
    change: float
    said: bool
    broken: bool

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def read_neighbours(
    edit: EditedModel,
    moment: SecondMoment,
    method: Method = METHOD,
    *,
    subjects: Sequence[str] | None = None,
    selection: Selection = SELECTION,
    ablation: Ablation = "mean",
    memory: int | str | None = None,
) -> tuple[Neighbour, ...]:
    """Measure the similarity of neighbours to a fact edited by ROME, and the effect of the edit on them.

    Parameters
    ----------
    edit
        An edit of one fact by ROME.
    moment
        The second moment C of the edit.
    method
        A method that scores all edges (`kcircuits.attribute`), on each prompt separately.
    subjects
        The subject of each neighbour; by default the text at the place of the edit's subject in its prompt.
    selection
        The edges of the fact and of each neighbour to compare, without pruning of dead ends.
    ablation
        Ablation of the scores. A mean is over the fact and its neighbours, so that edges show what
        distinguishes them.
    memory
        As in `kcircuits.attribute`.

    Raises
    ------
    KCircuitsError
        If the edit is not a rank-one edit of one fact, has no neighbours or another layer than the moment; if
        a subject is unknown or not in its prompt; or if the method does not score all edges.
    """
    request, update = _rank_one(edit, moment)
    original = edit.original
    questions = request.neighbours
    if not questions:
        raise KCircuitsError("the edit has no neighbours to read")
    names = [_subject(request, each) for each in questions] if subjects is None else list(subjects)
    if len(names) != len(questions):
        raise KCircuitsError(f"{len(questions)} neighbours need as many subjects, got {len(names)}")
    prompts = [_prompt(original, *each) for each in zip(questions, names, strict=True)]
    cosines, shares = _keys(original, prompts, update, moment)
    fact = old_prompt(original, request)
    overlaps = _circuit_overlaps(original, fact, prompts, method, selection, ablation, memory)
    before, after = _log_probabilities(original, prompts), _log_probabilities(edit.model, prompts)
    found = []
    for n, (question, name, prompt) in enumerate(zip(questions, names, prompts, strict=True)):
        token = prompt.answer_id
        others = before[n].exp().index_fill(0, torch.tensor(token), 0)
        said = int(before[n].argmax()) == token
        found.append(
            Neighbour(
                prompt=question.prompt,
                answer=question.answer,
                subject=name,
                key_cosine=cosines[n],
                key_overlap=shares[n],
                circuit_overlap=overlaps[n],
                margin=float(before[n, token].exp() - others.max()),
                change=float(after[n, token] - before[n, token]),
                said=said,
                broken=said and int(after[n].argmax()) != token,
            )
        )
    return tuple(found)


def _rank_one(edit: EditedModel, moment: SecondMoment) -> tuple[EditRequest, LowRank]:
    """The one fact of an edit and its update. Raises KCircuitsError if there is not one."""
    (name, part), *more = edit.delta.parts.items()
    if more or not isinstance(part, LowRank) or part.right.shape[1] != 1 or len(edit.requests) != 1:
        raise KCircuitsError("neighbours need an edit of a single fact by ROME: edit each fact separately")
    if name != f"layers.{moment.layer}.mlp.w_down":
        raise KCircuitsError(f"the edit is of {name}, but the second moment is of layer {moment.layer}")
    return edit.requests[0], part


def _subject(request: EditRequest, question: Question) -> str:
    """The text of a neighbour's prompt at the place of the edit's subject."""
    before, _, after = request.prompt.rpartition(request.subject)
    match = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", question.prompt, re.DOTALL)
    if match is None:
        raise KCircuitsError(
            f"the subject of {question.prompt!r} is unknown, because the wording differs from "
            f"{request.prompt!r}: give the neighbours' subjects"
        )
    return match[1]


def _prompt(model: Model, question: Question, subject: str) -> Prompt:
    start = question.prompt.rfind(subject)
    if start < 0 or not subject:
        raise KCircuitsError(f"the subject {subject!r} does not occur in the prompt {question.prompt!r}")
    return question_prompt(model, question.prompt, question.answer, (start, start + len(subject)))


@torch.no_grad()
def _keys(
    model: Model, prompts: Sequence[Prompt], update: LowRank, moment: SecondMoment
) -> tuple[list[float], list[float]]:
    """The cosine of each prompt's key with the edited key, and its share of the value."""
    tokens = pad_right([prompt.clean_ids for prompt in prompts], model.spec.unembedding.device)
    ends = [subject_end(prompt) for prompt in prompts]
    hidden = run_to_mlp(model.spec, tokens, moment.layer).hidden
    keys = hidden[range(len(prompts)), ends].double()  # [N, F]
    direction = update.right[:, 0].to(keys)  # C⁻¹k / (kᵀC⁻¹k)
    key = moment.matrix.to(keys) @ direction  # k, but for its length
    cosines: Tensor = functional.cosine_similarity(keys, key[None], dim=1)
    return cosines.tolist(), (keys @ direction).tolist()


def _circuit_overlaps(
    model: Model,
    fact: Prompt,
    prompts: Sequence[Prompt],
    method: Method,
    selection: Selection,
    ablation: Ablation,
    memory: int | str | None,
) -> list[float]:
    every = (fact, *prompts)
    reference = every if ablation.startswith("mean") else ()
    edges = model.spec.graph.valid
    chosen = []
    for prompt in every:
        task = Task((prompt,), ablation, reference=reference)
        scores = attribute(model, task, method, memory=memory)
        chosen.append(choose_edges(scores.graph, scores.matrix, selection)[edges])
    overlaps: list[float] = jaccard(np.stack(chosen))[0, 1:].tolist()
    return overlaps


def _log_probabilities(model: Model, prompts: Sequence[Prompt]) -> Tensor:
    """log p of the next token after each prompt, float64 [N, V], on the CPU."""
    return last_logits(model, list(prompts)).double().log_softmax(dim=-1).cpu()
