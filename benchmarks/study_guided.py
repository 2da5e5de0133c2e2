"""The second table of docs/editing.md: does a fact's own circuit show where to edit it?

Layers chosen by rules from the circuit and by causal tracing, compared with the fixed layer of
study_editing.py; fine-tuning of the circuit's strongest nodes, compared with the fixed layer and with random
nodes. The facts are those of study_editing.py. Edits are stored in out/editing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from editing_facts import editable_facts
from kept_edits import KEPT, KeptEdits
from machine import RESULTS, write_results
from rich.progress import track
from study_editing import REPORTED, row

import kcircuits
from kcircuits.editing.causal_trace import causal_trace
from kcircuits.editing.explain import default_selection
from kcircuits.editing.facts import old_prompt
from kcircuits.editing.guided import RULES, circuit_layer, strongest_nodes
from kcircuits.editing.measures import EditMeasures
from kcircuits.editing.methods import FineTuning, Method, Rome
from kcircuits.evaluation.intervals import percentile_interval, resampling_weights
from kcircuits.files.writing import write_atomically
from kcircuits.scores.selection import EmptySelectionError

NODES = 4
SEED = 0
COMPARED = ("efficacy", "paraphrase", "specificity")


def circuit_of(model: kcircuits.Model, prompt: kcircuits.Prompt) -> kcircuits.Circuit:
    """The circuit as in explanations. The number of edges is doubled until a path reaches the input."""
    task, selection = kcircuits.Task([prompt], "zero"), default_selection(model.spec.graph)
    while True:
        try:
            return kcircuits.discover(model, task, kcircuits.Eap(), selection)
        except EmptySelectionError:
            selection = replace(selection, top_n=2 * selection.top_n)


def random_nodes(model: kcircuits.Model, like: Sequence[str], draw: random.Random) -> tuple[str, ...]:
    """Random nodes with the same number of MLPs and heads as the given ones."""
    senders = [name for name in model.spec.graph.senders if name != "input"]
    kinds = Counter(name[0] for name in like)
    pools = {kind: [name for name in senders if name[0] == kind] for kind in kinds}
    return tuple(name for kind, count in kinds.items() for name in draw.sample(pools[kind], count))


def differences(
    some: Sequence[EditMeasures | None], fixed: Sequence[EditMeasures | None]
) -> dict[str, tuple[float, float, float]]:
    """Difference of a measure to that of the fixed layer: low, mean and high (95 % bootstrap over facts)."""
    found = {}
    pairs = [(a, b) for a, b in zip(some, fixed, strict=True) if a is not None and b is not None]
    weights = resampling_weights(len(pairs), SEED)
    assert weights is not None
    for name in COMPARED:
        gaps = np.array([(getattr(a, name) or 0.0) - (getattr(b, name) or 0.0) for a, b in pairs])
        interval = percentile_interval(weights @ gaps)
        found[name] = (interval.low, float(gaps.mean()), interval.high)
    return found


@dataclass(frozen=True)
class Places:
    """Where to edit each fact: a layer for each rule, and the strongest nodes of its circuit."""

    layers: dict[str, list[int]]
    nodes: list[list[str]]


def places_of(model: kcircuits.Model, facts: Sequence[kcircuits.EditRequest]) -> Places:
    """Places from an earlier run of the same, or from a new one."""
    given = repr((model.identity["weights_hash"], list(RULES), NODES, list(facts)))
    kept = KEPT / f"places-{hashlib.sha256(given.encode()).hexdigest()[:24]}.json"
    if not kept.exists():
        prompts = [old_prompt(model, fact) for fact in facts]
        circuits = [circuit_of(model, prompt) for prompt in track(prompts, "circuits")]
        layers = {rule: [circuit_layer(circuit, rule) for circuit in circuits] for rule in RULES}
        layers["causal trace"] = [
            causal_trace(model, prompt).layer for prompt in track(prompts, "causal traces")
        ]
        nodes = [list(strongest_nodes(circuit, NODES)) for circuit in circuits]
        KEPT.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json.dumps(asdict(Places(layers, nodes))))
    return Places(**json.loads(kept.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    best = int(json.loads((RESULTS / "editing_study.json").read_text())["chosen_layer"])
    model = kcircuits.load_model("demo")
    facts = editable_facts(model)[:REPORTED]
    edits = KeptEdits(model)
    places = places_of(model, facts)
    nodes = [tuple(each) for each in places.nodes]
    draw = random.Random(SEED)
    fixed: dict[str, Method] = {
        f"ROME, layer {best}": Rome(layer=best),
        f"FT-M, layer {best}": FineTuning("masked", (f"m{best}",)),
    }
    others: dict[str, dict[str, list[Method]]] = {
        f"ROME, layer {best}": {
            f"ROME, {rule}": [Rome(layer=layer) for layer in chosen] for rule, chosen in places.layers.items()
        },
        f"FT-M, layer {best}": {
            f"FT-M, the circuit's {NODES} strongest nodes": [FineTuning("masked", each) for each in nodes],
            f"FT-M, {NODES} random nodes": [
                FineTuning("masked", random_nodes(model, each, draw)) for each in nodes
            ],
        },
    }
    rows: list[dict[str, Any]] = []
    for title, method in fixed.items():
        base = edits.measure(title, method, facts)
        rows.append(row(title, base))
        for name, each in others[title].items():
            found = edits.measure_each(name, each, facts)
            rows.append({**row(name, found), "differences": differences(found, base)})
    selection = default_selection(model.spec.graph)
    results = {
        "chosen_layer": best,
        "circuit": {"top_n": selection.top_n, "greedy": selection.greedy},
        "layers": {rule: sorted(Counter(chosen).items()) for rule, chosen in places.layers.items()},
        "rows": rows,
    }
    print("written:", write_results("guided", results))


if __name__ == "__main__":
    main()
