"""Checks before an edit that it is possible."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kcircuits.editing.methods import Method, Rome
from kcircuits.editing.request import EditRequest
from kcircuits.editing.stream import final_rows, pad_right
from kcircuits.editing.tokenise import TokenisedEdit
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import read_out
from kcircuits.model.spec import ModelSpec

AT_START = (
    "the subject is the prompt's first token, and this model has no BOS before it. At the first position the "
    "MLP reads almost the same input for all words, so ROME and MEMIT cannot edit the subject there: start "
    "the prompt with other words, such as 'In France, …', or use ft-m"
)
"""Why ROME and MEMIT cannot edit a subject at position 0, where attention has nothing else to read."""


def check_agreement(requests: Sequence[EditRequest], edits: Sequence[TokenisedEdit], method: Method) -> None:
    """Refuse edits that one model cannot hold together.

    Raises
    ------
    KCircuitsError
        If two have different targets for one prompt; or with ROME, whose later edits replace earlier ones
        with the same key, if two have the same tokens up to the end of their subjects.
    """
    of_prompt: dict[tuple[int, ...], int] = {}
    of_key: dict[tuple[int, ...], int] = {}
    for number, (request, edit) in enumerate(zip(requests, edits, strict=True)):
        first = of_prompt.setdefault(edit.prompt.ids, number)
        if edits[first].target != edit.target:
            raise KCircuitsError(
                f"edits {first + 1} and {number + 1} contradict each other: {request.prompt!r} has the "
                f"targets {requests[first].target!r} and {request.target!r}. Leave one out, or edit each "
                "fact separately (edit_each, --each)"
            )
        key = edit.prompt.ids[: edit.prompt.subject_last + 1]
        first = of_key.setdefault(key, number)
        if isinstance(method, Rome) and edits[first].prompt.ids != edit.prompt.ids:
            raise KCircuitsError(
                f"edits {first + 1} and {number + 1} have the same key, because their prompts are equal up "
                f"to the subject ({requests[first].prompt!r}, {request.prompt!r}), and ROME would keep only "
                "the last: use memit, or edit each fact separately (edit_each, --each)"
            )


@torch.no_grad()
def check_new(spec: ModelSpec, requests: Sequence[EditRequest], edits: Sequence[TokenisedEdit]) -> None:
    """Refuse targets that the model already predicts."""
    tokens = pad_right([edit.prompt.ids + edit.target[:-1] for edit in edits], spec.unembedding.device)
    rows = final_rows(spec, tokens)
    for number, (request, edit) in enumerate(zip(requests, edits, strict=True)):
        last = len(edit.prompt.ids) - 1
        best = read_out(spec, rows[number, last : last + len(edit.target)]).argmax(dim=-1)
        if tuple(best.tolist()) == edit.target:
            raise KCircuitsError(
                f"the model already continues {request.prompt!r} with {request.target!r}: nothing to edit"
            )
