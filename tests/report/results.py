"""Results of every kind about one tiny circuit, with any text in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kcircuits.circuit import Circuit
from kcircuits.evaluation import Evaluation, RunMeasures
from kcircuits.graph import Graph
from kcircuits.sizes import MethodCurve, Point, SizeComparison
from tests.circuits import circuit_of, identity_for

TINY = Graph(num_layers=2, num_heads=4, num_kv_heads=2)


def circuit(text: str = "plain", **fields: Any) -> Circuit:
    settings = {
        "threshold": 0.01,
        "absolute": False,
        "ablation": "zero",
        "metric": text,
        text: text,
        "input": {"model": text, "prompt": text, "answer": text},
    }
    made = {"model": identity_for(TINY, text), "method": text, "settings": settings, "stats": {text: text}}
    return circuit_of(TINY, "input->m0 2", "m0->a1.h1<q> -0.5", "a1.h1->logits 3", **made | fields)


def evaluation(num_prompts: int = 3, num_edges: int = 3, text: str = "plain") -> Evaluation:
    def run(metric: float) -> RunMeasures:
        values = tuple(metric + 0.25 * n for n in range(num_prompts))
        return RunMeasures(values, tuple(1 + value for value in values), (0.25,) * num_prompts, values)

    return Evaluation(
        model=identity_for(TINY, text),
        ablation="zero",
        metric="nll",
        fold_value_biases=False,
        num_edges=num_edges,
        num_graph_edges=TINY.num_edges,
        num_nodes=4,
        seed=0,
        hit_k=3,
        full=run(0.5),
        circuit=run(1.0),
        complement=run(4.0),
        empty=run(4.5),
        random=(run(4.25), run(0.75)),
    )


def comparison(text: str = "plain") -> SizeComparison:
    curves = (
        MethodCurve("eap", (Point(0, 0.0), Point(5, 0.5), Point(50, 0.9375)), 0.25, 0.75, 0.125),
        MethodCurve(text[:60], (Point(7, 1.25, threshold=0.01),), 2.5, None, None),
        MethodCurve("random", (Point(5, 0.0, (-0.5, 0.25)), Point(50, 0.5, (0.25, 0.75))), None, 0.5, 0.5),
    )
    settings = {"ablation": text, "metric": text, "num_prompts": 3, "input": {"model": text, "prompt": text}}
    return SizeComparison(identity_for(TINY, text), settings, 0.5, 4.5, curves)


def write_all(folder: Path, text: str = "plain") -> Path:
    """All files that a report reads."""
    circuit(text).save(folder / "circuit.json")
    document = evaluation(text=text).to_json() | {"input": {"model": text, "prompt": text}}
    (folder / "evaluation.json").write_text(json.dumps(document))
    comparison(text).save(folder / "sizes.json")
    return folder
