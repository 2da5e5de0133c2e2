"""Ten ROME edits on SmolLM2-135M, with values optimised in one batch and one by one.

The second moment of the keys is computed before the measurement. Both ways alternate, and their edits must
agree.
"""

from __future__ import annotations

import statistics
from time import perf_counter

import torch
from editing_facts import editable_facts
from machine import write_results

import kcircuits
from kcircuits.editing.edit import EditedModel, edit_each
from kcircuits.editing.methods import Rome
from kcircuits.editing.second_moment import second_moment

EDITS, RUNS = 10, 3
LAYER = 3


def main() -> None:
    model = kcircuits.load_model("demo")
    requests = editable_facts(model)[:EDITS]
    moment = second_moment(model, LAYER)

    def make_edits(some: list[kcircuits.EditRequest]) -> list[EditedModel | str]:
        return edit_each(model, some, Rome(layer=LAYER), moments=lambda _: moment)

    batched, looped = [], []
    for _ in range(RUNS):
        start = perf_counter()
        together = make_edits(requests)
        batched.append(perf_counter() - start)
        start = perf_counter()
        alone = [make_edits([request])[0] for request in requests]
        looped.append(perf_counter() - start)
    name = f"layers.{LAYER}.mlp.w_down"
    differences = []
    for ours, theirs in zip(together, alone, strict=True):
        assert isinstance(ours, EditedModel)
        assert isinstance(theirs, EditedModel)
        first, second = (each.delta.parts[name].matrix for each in (ours, theirs))
        differences.append(float(torch.linalg.norm(first - second) / torch.linalg.norm(second)))
    results = {
        "edits": EDITS,
        "layer": LAYER,
        "seconds_batched": round(statistics.median(batched), 2),
        "seconds_one_by_one": round(statistics.median(looped), 2),
        "largest_relative_difference": max(differences),
    }
    print(results)
    print("written:", write_results("editing", results))


if __name__ == "__main__":
    main()
