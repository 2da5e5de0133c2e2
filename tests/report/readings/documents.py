"""Small files of readings of every kind, with any text in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from kcircuits.analysis.ablations import HeadAblation, RunMeans
from kcircuits.analysis.comparison.results import ComparedCircuit, Comparison
from kcircuits.analysis.comparison.two_hop import Containment, TwoHop
from kcircuits.analysis.roles.results import HeadRole, MlpWrite, Roles
from kcircuits.circuit import Circuit
from tests.report.readings.behaviours import edits, explain, hallucination, icl, knockout

TOKENS = ["In", " France", " they", " speak"]


def curves(circuit: Circuit, num_prompts: int = 2, text: str = " French") -> dict[str, Any]:
    """Layer curves of the full model and the circuit; prompt n is n + 1 times as far from the answer."""
    layers = list(range(circuit.graph.num_layers + 1))

    def run(scale: float) -> dict[str, list[float]]:
        ranks = [1 + scale * 10.0 ** (len(layers) - layer - 1) - scale for layer in layers]
        chances = [(layer + 1) / (len(layers) + scale) for layer in layers]
        return {
            "rank": ranks,
            "probability": chances,
            "subject_best_rank": [rank + 1 for rank in ranks],
            "subject_last_probability": [chance / 2 for chance in chances],
        }

    prompts = [
        {
            "tokens": [*TOKENS[:-1], text],
            "answer": text,
            "wrong": None,
            "subject": [1, 2],
            "runs": {"full": run(n + 1), "circuit": run(n + 1.5)},
        }
        for n in range(num_prompts)
    ]
    summary = {
        name: {
            measure: {"mean": values, "low": values, "high": values} for measure, values in run(1.5).items()
        }
        for name in ("full", "circuit")
    }
    return {
        "format": "kcircuits-curves/1",
        "model": circuit.model,
        "settings": {},
        "layers": layers,
        "circuit": True,
        "prompts": prompts,
        "summary": summary,
    }


def heads(circuit: Circuit, num_prompts: int = 2, text: str = " French") -> dict[str, Any]:
    """Every node of the circuit, at the subject and at the end of each prompt; node n writes logit n."""
    nodes = [node for node in circuit.nodes if node != "logits"]

    def reading(number: int, node: str, position: int, prompt: int) -> dict[str, Any]:
        attention = [0.0] * len(TOKENS)
        attention[1] = 0.75
        attention[position] += 0.25
        return {
            "node": node,
            "position": position,
            "logit": float(number - 1 + 10 * prompt),
            "share": 0.125 * number,
            "rank": number + 1,
            "top": [[text, 2.5], [" France", 1.25]],
            "attention": attention if node.startswith("a") else None,
        }

    prompts = [
        {
            "tokens": [*TOKENS[:-1], text],
            "answer": text,
            "subject": [1, 2],
            "nodes": [
                reading(number, node, position, prompt)
                for position in (1, len(TOKENS) - 1)
                for number, node in enumerate(nodes)
            ],
        }
        for prompt in range(num_prompts)
    ]
    return {"format": "kcircuits-heads/1", "model": circuit.model, "settings": {}, "prompts": prompts}


def roles(circuit: Circuit, text: str = "mover") -> dict[str, Any]:
    """The circuit's heads as movers, relation heads and mixtures in turn."""
    names = [node for node in circuit.nodes if node.startswith("a")]
    found = [
        HeadRole(
            node,
            (1.0 - index, 2.0 - index),
            (-0.25, -0.25),
            (20.5, 0.05, 1.5)[index % 3],
            0.01,
            40.0 - index,
        )
        for index, node in enumerate(names)
    ]
    spread = (0.5, 1.0, 1.5)
    ablation = HeadAblation(
        text, tuple(names[:1]), RunMeans(3.5, 0.25, 0.0), dict.fromkeys(("metric", "hit", "accuracy"), spread)
    )
    made = Roles(
        model=circuit.model,
        settings={},
        heads=tuple(found),
        mlps=(MlpWrite("m0", 1.25, 1.0, 1.5),),
        full=RunMeans(0.5, 1.0, 0.75),
        ablations=(ablation,),
    )
    return dict(json.loads(json.dumps(made.to_json())))


def overlaps(circuit: Circuit, text: str = "French") -> dict[str, Any]:
    """Three circuits of two domains side by side, the last of a question that the others are parts of."""
    layers = np.arange(circuit.graph.num_layers)[:, None] + [1.0, 2.0]
    parts = Containment(0.75, 0.5), Containment(0.5, 0.25)
    return Comparison(
        model=circuit.model,
        circuits=(
            ComparedCircuit(text, text, 3, 4, 0.5),
            ComparedCircuit("Spanish", text, 30, 12, None),
            ComparedCircuit("both", "two hops", 40, 14, 1.5),
        ),
        node_overlap=np.array([[1, 0.25, 0.5], [0.25, 1, 0.5], [0.5, 0.5, 1]]),
        edge_overlap=np.array([[1, 0.125, 0.5], [0.125, 1, 0.5], [0.5, 0.5, 1]]),
        reverse_overlap=np.array([[1, 0.375, 0.5], [0.875, 1, 0.5], [0.5, 0.5, 1]]),
        frequency={text: layers / (layers.max() + 1), "two hops": 1 / layers},
        least=0.5,
        backbone=(("m0", 1.0), ("a1.h1", 0.5)),
        two_hop=TwoHop(
            (text, "Spanish"), "both", parts, Containment(0.625, 0.375), (Containment(0.25, 0.125),) * 3
        ),
    ).to_json()


def write_readings(folder: Path, circuit: Circuit, text: str = " French") -> None:
    """All files of readings, into the folder of a circuit's results."""
    documents = {
        "curves": curves(circuit, text=text),
        "heads": heads(circuit, text=text),
        "roles": roles(circuit, text),
        "comparison": overlaps(circuit, text),
        "hallucination": hallucination(circuit, text=text),
        "icl": icl(circuit, text),
        "knockout": knockout(circuit, text),
        "explain": explain(circuit, text),
        "edits": edits(circuit, text),
    }
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
