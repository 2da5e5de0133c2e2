"""Gradient scores from several workers: each scores some parts of the prompts, and one joins them.

The bits are those of `kcircuits.attribute` and of the scores in `kcircuits.discover`, whatever the number of
workers, as parts depend on the prompts alone (`kcircuits.discovery.summed`). What else may change a bit, the
memory, threads, processor and versions, is recorded with the scores of a part, and only those of one kind are
joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcircuits.data.prompts import Prompt
from kcircuits.discovery.by_scores import check_differences, check_scores
from kcircuits.discovery.eap import GradientScorer
from kcircuits.discovery.method import Method
from kcircuits.discovery.progress import ProgressCallback
from kcircuits.discovery.search_identity import difference_of, search_of
from kcircuits.discovery.summed import mean_of_parts, scores_of_parts
from kcircuits.engine import check_all_fit
from kcircuits.engine.needs import for_method
from kcircuits.engine.portions import parts
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.model.loading import Model
from kcircuits.runtime.memory import budget_for
from kcircuits.scores import Scores
from kcircuits.task import Task, check_task

KEY = "part"
"""Of the settings of a part's scores: an object of `number`, `of` (parts), `prompts` (of the part) and
`search` (`search_of`)."""


class PartsError(KCircuitsError):
    """Scores of parts that were not made alike, and so are not added up."""


def parts_of(prompts: Sequence[Prompt]) -> tuple[tuple[Prompt, ...], ...]:
    """The parts of the prompts, in their order; a worker names one by its number, from 0 on."""
    return parts(prompts)


def scores_of_part(
    model: Model,
    task: Task,
    method: Method,
    part: int,
    *,
    memory: int | str,
    progress: ProgressCallback | None = None,
) -> Scores:
    """Score every edge for one part of a task's prompts.

    Parameters
    ----------
    model, method, progress
        As in `kcircuits.attribute`, for a gradient method.
    task
        With all prompts, the same for all workers: mean ablation averages over them.
    part
        Which of `parts_of(task.prompts)`.
    memory
        As in `kcircuits.attribute`, the same for all workers, and so without a default that depends on the
        machine.

    Returns
    -------
    Scores
        The mean over the part's prompts. `settings["part"]` says which part it is; it survives `save`.

    Raises
    ------
    KCircuitsError
        If anything of the input cannot be used, or there is no such part.
    """
    check_task(task)
    if not method.scores_all_edges:
        raise KCircuitsError(f"{method.name} does not score all edges, so there are no parts to add up")
    if not isinstance(method, GradientScorer):
        raise KCircuitsError(f"parts are for gradient methods (eap, eap-ig-inputs, …), not for {method.name}")
    check_differences(task)
    method.check(model.spec, task)
    check_all_fit(model.spec, (*task.prompts, *task.reference))
    cut = parts(task.prompts)
    if type(part) is not int or not 0 <= part < len(cut):
        raise KCircuitsError(f"part must be a whole number from 0 to {len(cut) - 1}, got {part!r}")
    spec = task.transform_spec(model.spec)
    budget = budget_for(memory, [for_method(method, spec, task)])
    settings = {**method.settings, **task.settings}
    search = search_of(spec, task, model.identity, settings, budget)
    ((_, matrix),) = scores_of_parts(method, spec, task, budget, progress, [part])
    which = {"number": part, "of": len(cut), "prompts": len(cut[part]), "search": search}
    return Scores(spec.graph, model.identity, method.name, {**settings, KEY: which}, matrix)


def joined_scores(parts: Sequence[Scores]) -> Scores:
    """The scores of all prompts from those of all parts, in any order: what `kcircuits.attribute` returns.

    Raises
    ------
    PartsError
        If they are not of the same search.
    KCircuitsError
        If one is not the scores of a part, a part is missing or there twice, or every score is 0.
    """
    if not parts:
        raise KCircuitsError("there are no scores of parts to join")
    by_number: dict[int, tuple[int, np.ndarray]] = {}
    first, first_search, _ = _described(parts[0])
    for scores in parts:
        number, search, prompts = _described(scores)
        difference = difference_of(first_search, search)
        if difference is not None:
            key, theirs, ours = difference
            raise PartsError(
                f"parts of different searches: {key} is {theirs} for part {first} and {ours} for {number}"
            )
        if number in by_number:
            raise KCircuitsError(f"the scores of part {number} are there twice")
        by_number[number] = prompts, scores.matrix
    if missing := sorted(set(range(first_search["parts"])) - by_number.keys()):
        raise KCircuitsError(f"the scores of part {missing[0]} of {first_search['parts']} are missing")
    matrix = mean_of_parts(by_number[number] for number in sorted(by_number)).astype(np.float32)
    check_scores(parts[0].method, matrix)
    settings = {key: value for key, value in parts[0].settings.items() if key != KEY}
    return Scores(parts[0].graph, parts[0].model, parts[0].method, settings, matrix)


def _described(scores: Scores) -> tuple[int, dict[str, Any], int]:
    """The part's number, its search, and how many prompts it has."""
    which = scores.settings.get(KEY)
    if not isinstance(which, dict) or which.keys() != {"number", "of", "prompts", "search"}:
        raise KCircuitsError(f"not the scores of a part: settings[{KEY!r}] is {quote(which)}")
    number, of, prompts, search = (which[key] for key in ("number", "of", "prompts", "search"))
    whole = all(type(value) is int for value in (number, of, prompts))
    if not whole or not 0 <= number < of or prompts < 1 or not isinstance(search, dict):
        raise KCircuitsError(f"not the scores of a part: settings[{KEY!r}] is {quote(which)}")
    return number, {**search, "method": scores.method, "parts": of}, prompts
