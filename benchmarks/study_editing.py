"""The table of docs/editing.md: how well editors change 100 facts of SmolLM2-135M, each edited alone.

ROME's and MEMIT's layers are chosen on other facts than those that are reported. Every step (one method with
one choice of layers on one set of facts) is kept in out/editing; one that is there is not run again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from editing_facts import editable_facts
from machine import write_results
from rich.progress import track

import kcircuits
from kcircuits.editing.edit import EditedModel, edit_each
from kcircuits.editing.fine_tuning import TuningOptions
from kcircuits.editing.measures import EditMeasures, mean_measures, measure_edit
from kcircuits.editing.methods import FineTuning, Memit, Method, Rome
from kcircuits.editing.second_moment import SecondMoment, second_moment
from kcircuits.files import write_atomically

KEPT = Path(__file__).resolve().parents[1] / "out" / "editing"
CHOOSING, REPORTED = 20, 100
LAYERS = (1, 3, 5, 7, 9, 12)
BATCH = 10
CONSTRAINT = 1e-3


class Study:
    """A model, and everything that is measured with it."""

    def __init__(self) -> None:
        self.model = kcircuits.load_model("demo")
        facts = editable_facts(self.model)
        self.choosing, self.reported = facts[:CHOOSING], facts[CHOOSING : CHOOSING + REPORTED]
        self.known: dict[int, SecondMoment] = {}

    def moment(self, layer: int) -> SecondMoment:
        if layer not in self.known:
            self.known[layer] = second_moment(self.model, layer)
        return self.known[layer]

    def step(self, title: str, method: Method, facts: Sequence[kcircuits.EditRequest]) -> dict[str, Any]:
        """Means over some facts, from an earlier run of the same or from a new one."""
        given = repr((self.model.identity["weights_hash"], method, facts))
        kept = KEPT / f"{hashlib.sha256(given.encode()).hexdigest()[:24]}.json"
        if kept.exists():
            return dict(json.loads(kept.read_text()))
        start = perf_counter()
        measured: list[EditMeasures] = []
        failed = 0
        for first in track(range(0, len(facts), BATCH), title):
            some = facts[first : first + BATCH]
            for request, made in zip(
                some, edit_each(self.model, some, method, moments=self.moment), strict=True
            ):
                if isinstance(made, EditedModel):
                    with made as edited:
                        measured.append(measure_edit(edited, self.model, request))
                else:
                    failed += 1
        found = {
            "method": title,
            "edits": len(facts),
            "failed": failed,
            "seconds": round(perf_counter() - start, 1),
            **mean_measures(measured),
        }
        KEPT.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json.dumps(found))
        print(found, flush=True)
        return found


def main() -> None:
    study = Study()
    print(f"{len(study.choosing)} facts to choose layers on, {len(study.reported)} to report")
    choices = {
        layer: study.step(f"rome, layer {layer}", Rome(layer=layer), study.choosing) for layer in LAYERS
    }
    best = max(LAYERS, key=lambda layer: choices[layer]["score"] or 0.0)
    spread = tuple(range(max(0, best - 2), best + 1))
    methods: dict[str, Method] = {
        f"ROME, layer {best}": Rome(layer=best),
        f"MEMIT, layers {spread[0]} to {spread[-1]}": Memit(over=spread),
        f"FT-L, layer {best}": FineTuning("last", (f"m{best}",), TuningOptions(limit=CONSTRAINT)),
        f"FT-M, layer {best}": FineTuning("masked", (f"m{best}",)),
    }
    rows = [study.step(title, method, study.reported) for title, method in methods.items()]
    results = {"chosen_layer": best, "choices": list(choices.values()), "rows": rows}
    print("written:", write_results("editing_study", results))


if __name__ == "__main__":
    main()
