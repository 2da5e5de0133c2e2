"""Measures of single edits, stored in out/editing and reused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.progress import track

import kcircuits
from kcircuits.editing.edit import EditedModel, edit_each, select_values, tokenise_edits, write_values
from kcircuits.editing.measures import GENERATED, EditMeasures, measure_edit
from kcircuits.editing.methods import FineTuning, Memit, Method, Rome
from kcircuits.editing.second_moment import SecondMoment, second_moment
from kcircuits.editing.values import Values, optimise_values
from kcircuits.files.writing import write_atomically

KEPT = Path(__file__).resolve().parents[1] / "out" / "editing"
BATCH = 10
"""Edits whose values are optimised together."""
PREFIXES, SEED = 5, 0


class KeptEdits:
    """Edits of single facts of one model, with stored measures."""

    def __init__(self, model: kcircuits.Model) -> None:
        self.model = model
        self._moments: dict[int, SecondMoment] = {}
        self._values: dict[str, Values] = {}

    def measure(
        self, title: str, method: Method, requests: Sequence[kcircuits.EditRequest], *, fluency: bool = False
    ) -> list[EditMeasures | None]:
        """Measures of each edit, from an earlier run or a new one; None if the edit failed."""
        missing = [request for request in requests if self._kept(method, request, fluency) is None]
        for first in track(range(0, len(missing), BATCH), title, disable=not missing):
            some = missing[first : first + BATCH]
            for request, edited in zip(some, self._make_edits(method, some), strict=True):
                self._keep(method, request, edited, fluency)
        paths = [self._kept(method, request, fluency) for request in requests]
        found = [json.loads(path.read_text()) for path in paths if path is not None]
        return [None if each is None else EditMeasures(**each) for each in found]

    def measure_each(
        self, title: str, methods: Sequence[Method], requests: Sequence[kcircuits.EditRequest]
    ) -> list[EditMeasures | None]:
        """`measure` with a separate method for each request."""
        groups: dict[str, list[int]] = {}
        for number, method in enumerate(methods):
            groups.setdefault(repr(method), []).append(number)
        found: dict[int, EditMeasures | None] = {}
        for numbers in groups.values():
            some = self.measure(title, methods[numbers[0]], [requests[n] for n in numbers])
            found.update(zip(numbers, some, strict=True))
        return [found[number] for number in range(len(requests))]

    def _make_edits(
        self, method: Method, requests: Sequence[kcircuits.EditRequest]
    ) -> Sequence[EditedModel | str]:
        if isinstance(method, FineTuning):
            return edit_each(self.model, requests, method)
        return self._write_values(method, requests)

    def _write_values(
        self, method: Rome | Memit, requests: Sequence[kcircuits.EditRequest]
    ) -> list[EditedModel | str]:
        """As `edit_each`, with values of the same layer optimised once for all methods that write them."""
        spec = self.model.spec
        edits = tokenise_edits(self.model, requests, method, PREFIXES, SEED)
        layer = method.layers(len(spec.layers))[-1]
        key = repr((layer, method.value, requests))
        if key not in self._values:
            self._values[key] = optimise_values(spec, edits, layer, method.value)
        values = self._values[key]
        return [
            values.failed[n]
            if n in values.failed
            else EditedModel(
                self.model,
                write_values(spec, [edits[n]], select_values(values, [n]), method, self._moment),
                (request,),
                {},
            )
            for n, request in enumerate(requests)
        ]

    def _keep(
        self, method: Method, request: kcircuits.EditRequest, edited: EditedModel | str, fluency: bool
    ) -> None:
        measures = None
        if isinstance(edited, EditedModel):
            with edited as model:
                generated = GENERATED if fluency else 0
                measures = asdict(measure_edit(model, self.model, request, SEED, generated))
        KEPT.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path(method, request, fluency), json.dumps(measures))

    def _moment(self, layer: int) -> SecondMoment:
        if layer not in self._moments:
            self._moments[layer] = second_moment(self.model, layer)
        return self._moments[layer]

    def _kept(self, method: Method, request: kcircuits.EditRequest, fluency: bool) -> Path | None:
        """The stored measures of an edit: with fluency, or also without it if none is needed."""
        paths = [self._path(method, request, kind) for kind in ((True,) if fluency else (True, False))]
        return next((path for path in paths if path.exists()), None)

    def _path(self, method: Method, request: kcircuits.EditRequest, fluency: bool) -> Path:
        given = repr((self.model.identity["weights_hash"], method, request))
        name = hashlib.sha256(given.encode()).hexdigest()[:24]
        return KEPT / (f"{name}.json" if fluency else f"{name}-brief.json")
