"""Why neighbours break: facts of SmolLM2-135M, each edited alone by ROME, with five neighbours each.

Similarity of each neighbour to the edited fact is measured before the edit, and damage after it
(docs/editing.md). Edits are stored in out/neighbours and reused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from editing_facts import FACTUAL, editable_facts
from machine import write_results
from rich.progress import Progress

import kcircuits
from kcircuits.editing.edit import EditedModel, edit_each
from kcircuits.editing.methods import Rome
from kcircuits.editing.neighbours import SELECTION, Neighbour, read_neighbours
from kcircuits.editing.predictors import PREDICTORS, predictors
from kcircuits.editing.second_moment import SecondMoment, second_moment
from kcircuits.files.writing import write_atomically

KEPT = Path(__file__).resolve().parents[1] / "out" / "neighbours"
LAYER, PAIRS = 3, 200
CHOOSING = 20
"""Facts that the layer was chosen on; they come first, and are not read."""


def read(
    model: kcircuits.Model, request: kcircuits.EditRequest, moment: SecondMoment
) -> tuple[Neighbour, ...] | str:
    """The neighbours of one edit, from an earlier run or a new one; or the reason why the edit failed."""
    given = repr((model.identity["weights_hash"], LAYER, SELECTION.top_n, request))
    kept = KEPT / f"{hashlib.sha256(given.encode()).hexdigest()[:24]}.json"
    if not kept.exists():
        (made,) = edit_each(model, [request], Rome(layer=LAYER), moments=lambda _: moment)
        found: str | list[dict[str, Any]] = (
            [each.to_json() for each in read_neighbours(made, moment)]
            if isinstance(made, EditedModel)
            else made
        )
        KEPT.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json.dumps(found))
    content = json.loads(kept.read_text())
    return content if isinstance(content, str) else tuple(Neighbour(**each) for each in content)


def medians(name: str, every: list[Neighbour]) -> dict[str, Any]:
    """The median of a property for neighbours that broke and for those that did not."""
    kinds = {"broken": True, "kept": False}
    some = {
        kind: [getattr(each, name) for each in every if each.broken == broken]
        for kind, broken in kinds.items()
    }
    return {kind: median(values) if values else None for kind, values in some.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    model = kcircuits.load_model("demo")
    moment = second_moment(model, LAYER)
    edits, every, failed = [], [], 0
    with Progress() as progress:
        task = progress.add_task("neighbours", total=PAIRS)
        for request in editable_facts(model, FACTUAL)[CHOOSING:]:
            found = read(model, request, moment)
            if isinstance(found, str):
                failed += 1
                continue
            edits.append(found)
            every += found
            progress.update(task, completed=len(every))
            if len(every) >= PAIRS:
                break
    results = {
        "layer": LAYER,
        "edits": len(edits),
        "failed": failed,
        "neighbours": len(every),
        "said": sum(each.said for each in every),
        "broken": sum(each.broken for each in every),
        "mean_change": fmean(each.change for each in every),
        "median_size": median(abs(each.change) for each in every),
        "top_n": SELECTION.top_n,
        "medians": {name: medians(name, every) for name in PREDICTORS},
        "predictors": [each.to_json() for each in predictors(edits)],
    }
    print(json.dumps(results, indent=1))
    print("written:", write_results("neighbours", results))


if __name__ == "__main__":
    main()
