"""The compiled engine, typed: masked runs of many circuits at once, and the exact ACDC search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kcircuits._native import C
from kcircuits.data.prompts import Prompt, batch, check_fits
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task

DTYPES = (torch.float32, torch.float64)


class Engine:
    """One task on one model, ready for masked runs (DESIGN: the masked run).

    Building it runs the model once, and once more on the corrupt prompts. N prompts, S senders, R receivers,
    D the width.

    Parameters
    ----------
    spec
        The model, in float32 or float64.
    task
        The prompts, the ablation and the metric.

    Raises
    ------
    KCircuitsError
        If a prompt does not fit the model, or its weights have another type.
    """

    def __init__(self, spec: ModelSpec, task: Task) -> None:
        if spec.embedding.dtype not in DTYPES:
            raise KCircuitsError(
                "circuits are searched and measured in float32 or float64, the model is "
                f"{spec.embedding.dtype}: load it with dtype=torch.float32"
            )
        for number, prompt in enumerate(task.prompts, start=1):
            try:
                check_fits(prompt, spec.vocab_size, spec.max_positions)
            except KCircuitsError as error:
                raise KCircuitsError(f"prompt {number}: {error}") from error
        padded = batch([_what_is_needed(prompt, task) for prompt in task.prompts])
        self.graph: Graph = spec.graph
        self._session = C.Session(
            spec=spec,
            clean=padded.clean,
            lengths=padded.lengths,
            answers=padded.answers,
            wrong=padded.wrong,
            corrupt=padded.corrupt,
            metric=task.metric,
        )

    def full_rows(self) -> Tensor:
        """The full model's final-normed rows at each prompt's last position, [N, D]."""
        rows: Tensor = self._session.full_rows()
        return rows

    def masked_rows(self, masks: np.ndarray, memory: int) -> Tensor:
        """Final-normed rows [M, N, D] of the masked runs of M circuits.

        Parameters
        ----------
        masks
            Present edges, bool [M, S, R].
        memory
            Bytes that may be used for circuits that run together.
        """
        rows: Tensor = self._session.masked_run(torch.from_numpy(np.ascontiguousarray(masks)), memory)
        return rows

    def metric(self, rows: Tensor) -> Tensor:
        """The metric of each prompt, float64 [M, N], from its final-normed rows [M, N, D]."""
        values: Tensor = self._session.metric(rows)
        return values

    def measure(self, masks: np.ndarray, memory: int) -> list[float]:
        """The metric of M circuits, averaged over prompts; arguments as in `masked_rows`."""
        values: list[float] = self.metric(self.masked_rows(masks, memory)).mean(dim=1).tolist()
        return values

    def acdc(
        self,
        threshold: float,
        *,
        absolute: bool,
        memory: int,
        chunk_limit: int,
        progress: Callable[[Any], None] | None,
    ) -> Any:
        """Run the compiled search; `kcircuits.discover.acdc` says what it does.

        `progress` is called after every chunk of hypotheses with an `AcdcProgress`; an exception that it
        raises ends the search, and so does Ctrl-C. Returns an `AcdcResult`.
        """
        return self._session.acdc(threshold, absolute, memory, chunk_limit, progress)


def _what_is_needed(prompt: Prompt, task: Task) -> Prompt:
    """Without what the task makes no use of, which other prompts of the task may lack."""
    if task.ablation != "corrupt":
        prompt = replace(prompt, corrupt_ids=None)
    return prompt if task.metric == "logit-diff" else replace(prompt, wrong_id=None)
