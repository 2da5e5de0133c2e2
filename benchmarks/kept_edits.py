"""Measures of single edits, kept in out/editing: an edit that is there is not made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.progress import track

import kcircuits
from kcircuits.editing.edit import EditedModel, edit_each
from kcircuits.editing.measures import EditMeasures, measure_edit
from kcircuits.editing.methods import Method
from kcircuits.editing.second_moment import SecondMoment, second_moment
from kcircuits.files import write_atomically

KEPT = Path(__file__).resolve().parents[1] / "out" / "editing"
BATCH = 10
"""Edits whose values are optimised together."""


class KeptEdits:
    """Facts of one model, each edited alone."""

    def __init__(self, model: kcircuits.Model) -> None:
        self.model = model
        self._moments: dict[int, SecondMoment] = {}

    def measured(
        self, title: str, method: Method, requests: Sequence[kcircuits.EditRequest]
    ) -> list[EditMeasures | None]:
        """Measures of every edit, from an earlier run or a new one; None where the edit failed."""
        missing = [request for request in requests if not self._path(method, request).exists()]
        for first in track(range(0, len(missing), BATCH), title, disable=not missing):
            some = missing[first : first + BATCH]
            made = edit_each(self.model, some, method, moments=self._moment)
            for request, edited in zip(some, made, strict=True):
                self._keep(method, request, edited)
        found = [json.loads(self._path(method, request).read_text()) for request in requests]
        return [None if each is None else EditMeasures(**each) for each in found]

    def measured_each(
        self, title: str, methods: Sequence[Method], requests: Sequence[kcircuits.EditRequest]
    ) -> list[EditMeasures | None]:
        """`measured`, every request with a method of its own."""
        groups: dict[str, list[int]] = {}
        for number, method in enumerate(methods):
            groups.setdefault(repr(method), []).append(number)
        found: dict[int, EditMeasures | None] = {}
        for numbers in groups.values():
            some = self.measured(title, methods[numbers[0]], [requests[n] for n in numbers])
            found.update(zip(numbers, some, strict=True))
        return [found[number] for number in range(len(requests))]

    def _keep(self, method: Method, request: kcircuits.EditRequest, edited: EditedModel | str) -> None:
        measures = None
        if isinstance(edited, EditedModel):
            with edited as model:
                measures = asdict(measure_edit(model, self.model, request))
        KEPT.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path(method, request), json.dumps(measures))

    def _moment(self, layer: int) -> SecondMoment:
        if layer not in self._moments:
            self._moments[layer] = second_moment(self.model, layer)
        return self._moments[layer]

    def _path(self, method: Method, request: kcircuits.EditRequest) -> Path:
        given = repr((self.model.identity["weights_hash"], method, request))
        return KEPT / f"{hashlib.sha256(given.encode()).hexdigest()[:24]}.json"
