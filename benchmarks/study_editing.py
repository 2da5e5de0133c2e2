"""The table of docs/editing.md: editing methods on 100 facts of SmolLM2-135M, each edited alone.

The layer is chosen on facts that are not reported. Edits are stored in out/editing and reused.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from editing_facts import editable_facts
from kept_edits import KeptEdits
from machine import write_results

import kcircuits
from kcircuits.editing.fine_tuning import TuningOptions
from kcircuits.editing.measures import EditMeasures, mean_measures
from kcircuits.editing.methods import FineTuning, Memit, Method, Rome

REPORTED, CHOOSING = 100, 20
LAYERS = (1, 3, 5, 8)
CONSTRAINT = 1e-3


def row(title: str, measured: Sequence[EditMeasures | None]) -> dict[str, Any]:
    """Means over the edits that did not fail."""
    done = [each for each in measured if each is not None]
    failed = len(measured) - len(done)
    found = {"method": title, "edits": len(measured), "failed": failed, **mean_measures(done)}
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    model = kcircuits.load_model("demo")
    facts = editable_facts(model)
    reported, choosing = facts[:REPORTED], facts[REPORTED : REPORTED + CHOOSING]
    print(f"{len(choosing)} facts to choose a layer on, {len(reported)} others to report")
    edits = KeptEdits(model)

    choices = {}
    for layer in LAYERS:
        title = f"ROME, layer {layer}"
        choices[layer] = row(title, edits.measure(title, Rome(layer=layer), choosing))
    best = max(LAYERS, key=lambda layer: choices[layer]["score"] or 0.0)
    spread = tuple(range(max(0, best - 2), best + 1))
    methods: dict[str, Method] = {
        f"ROME, layer {best}": Rome(layer=best),
        f"MEMIT, layers {spread[0]} to {spread[-1]}": Memit(over=spread),
        f"FT-M, layer {best}": FineTuning("masked", (f"m{best}",)),
        f"FT-L, layer {best}": FineTuning("last", (f"m{best}",), TuningOptions(limit=CONSTRAINT)),
    }
    rows = [
        row(title, edits.measure(title, method, reported, fluency=True)) for title, method in methods.items()
    ]
    results = {"chosen_layer": best, "choices": list(choices.values()), "rows": rows}
    print("written:", write_results("editing_study", results))


if __name__ == "__main__":
    main()
