"""Small files about what models do and what becomes of them when they are changed, with any text in them."""

from __future__ import annotations

import json
from typing import Any

from kcircuits.analysis.ablations import AblatedRuns, RunMeans
from kcircuits.analysis.hallucination.results import (
    AnswerCurve,
    Decision,
    Hallucination,
    Hallucinations,
    recurring_nodes,
)
from kcircuits.analysis.heads.results import NodeReading
from kcircuits.analysis.in_context.results import ASKED, AddedHead, CircuitNodes, InContext
from kcircuits.analysis.knockout.results import Knockout, PromptsEffect, TextEffect
from kcircuits.analysis.prompt_texts import PromptText
from kcircuits.circuit import Circuit
from kcircuits.editing.changes import BeforeAfter, HeadChange, NamesChange, NodeChange, ObjectCurves
from kcircuits.editing.explanation import Explanation
from kcircuits.editing.measures import EditMeasures
from kcircuits.editing.report import EditReport
from kcircuits.editing.request import EditRequest
from kcircuits.evaluation import RunMeasures


def hallucination(circuit: Circuit, num_errors: int = 2, text: str = " French") -> dict[str, Any]:
    """Errors on prompts that end in the text; in the n-th the wrong answer overtakes n layers later."""
    layers = circuit.graph.num_layers + 1
    names = [node for node in circuit.nodes if node != "logits"]
    errors = []
    for n in range(num_errors):
        right = [5.0 + layer for layer in range(layers)]
        errors.append(
            Hallucination(
                text=PromptText(("In", " France", text), text, " Dutch", None),
                right=AnswerCurve(tuple(right), tuple(1 / (rank + 1) for rank in right)),
                wrong=_curve(layers, 100.0 + n),
                overtakes=1 + n,
                best_layer=0,
                difference=4.0 * (n + 1),
                nodes=tuple(
                    Decision(node, 2.0 - place + n, (2.0 - place + n) / (4.0 * (n + 1)))
                    for place, node in enumerate(names)
                ),
            )
        )
    settings = {"num_prompts": 7, "num_errors": num_errors}
    return _plain(Hallucinations(circuit.model, settings, tuple(errors), recurring_nodes(errors)).to_json())


def icl(circuit: Circuit, text: str = "plain") -> dict[str, Any]:
    """Two heads that examples add, one of which looks at the examples' objects."""
    heads = (
        AddedHead("a0.h1", 2.0, dict(_parts(object=0.75, query=0.25))),
        AddedHead("a1.h0", 1.0, dict(_parts(start=0.5, separator=0.5))),
    )
    runs = {
        "zero-shot": RunMeans.from_run(_run(20.0, 1.0, 8.0, 2.0)),
        "few-shot": RunMeans.from_run(_run(1.0, 1.0, 1.0, 3.0)),
    }
    ablations = {
        name: AblatedRuns(
            "added", ("a0.h1", "a1.h0"), _run(*ranks), (_run(1, 1, 1, 9), _run(1, 1, 7, 9))
        ).means()
        for name, ranks in (("zero-shot", (30, 1, 9, 4)), ("few-shot", (1, 5, 1, 3)))
    }
    return _plain(
        InContext(
            model=circuit.model,
            settings={"num_prompts": 4, "ablation": text},
            nodes=dict.fromkeys(ASKED, CircuitNodes(len(circuit.edges), circuit.nodes)),
            runs=runs,
            added=heads,
            ablations=ablations,  # type: ignore[arg-type]
        ).to_json()
    )


def knockout(circuit: Circuit, text: str = "country-capital") -> dict[str, Any]:
    """A knockout on the circuit's own prompts, on others, and on a text, beside two random circuits."""
    effects = (
        PromptsEffect("own", _run(1, 1), _run(60, 40), (_run(1, 12), _run(1, 1))),
        PromptsEffect(text, _run(1, 2), _run(1, 3), (_run(2, 2), _run(3, 3))),
    )
    settings = {
        "ablation": "zero",
        "num_circuit_edges": 3,
        "num_removed_edges": 2,
        "hit_k": 10,
        "seed": 0,
    }
    on_text = TextEffect(200, 10.0, 1000.0, (20.0, 100.0))
    return _plain(Knockout(circuit.model, settings, effects, on_text).to_json())


def explain(circuit: Circuit, text: str = " French") -> dict[str, Any]:
    """An edit after which the new object rises behind the last layer, at both places."""
    layers = circuit.graph.num_layers + 1
    changes = (
        NodeChange("a1.h1", "later heads", 3.0, 2.5),
        NodeChange("m0", "edited", 1.5, 4.0),
        NodeChange("constants", "constants", -0.5, 0.0),
    )
    return _plain(
        Explanation(
            model=circuit.model,
            edited=circuit.model | {"weights_hash": "f" * 64},
            settings={"top_n": 3},
            prompt=PromptText(("In", " France", text), " German", text, (1, 2)),
            edited_nodes=("m0",),
            new=_before_after(_curve(layers, 40.0), _curve(layers, 1.0)),
            old=_before_after(_curve(layers, 1.0), _curve(layers, 30.0)),
            logits=(-1.5, 2.5),
            changes=changes,
            heads=(HeadChange(_reading(0.25, (0.5, 0.5, 0.0)), _reading(2.75, (0.0, 0.75, 0.25))),),
            nodes=NamesChange.compare(["input", "m0", "a0.h2"], ["input", "m0", "a1.h1", "logits"]),
            edges=NamesChange.compare(["input->m0", "m0->logits"], ["input->m0", "m0->a1.h1<q>"]),
        ).to_json()
    )


def edits(circuit: Circuit, text: str = " French") -> dict[str, Any]:
    """One edit that took, and one that failed."""
    requests = (
        EditRequest("France", "The language of France is", "German", text),
        EditRequest("Spain", f"The language of Spain {text}", text, None),
    )
    measures = EditMeasures(1.0, None, 0.75, 0.5, 1.0, None, 0.25, None, 5.5)
    report = EditReport(
        circuit.model, {"method": text}, requests, (measures, None), {1: f"no {text}"}, (10.0, 12.5)
    )
    return _plain(report.to_json())


def _curve(layers: int, last: float) -> AnswerCurve:
    """Ranks that fall towards `last` by a factor of 3 per layer, and the probabilities to match."""
    ranks = [last * 3.0 ** (layers - 1 - layer) for layer in range(layers)]
    return AnswerCurve(tuple(ranks), tuple(0.5 / rank for rank in ranks))


def _reading(logit: float, attention: tuple[float, ...]) -> NodeReading:
    """What a1.h1 does at the last position."""
    return NodeReading("a1.h1", 2, logit, 0.5, 4, ((" German", logit), (" Polish", 0.1)), attention)


def _before_after(before: AnswerCurve, after: AnswerCurve) -> BeforeAfter:
    return BeforeAfter(ObjectCurves(before, before), ObjectCurves(after, after))


def _run(*ranks: float) -> RunMeasures:
    return RunMeasures(ranks, ranks, tuple(1 / rank for rank in ranks), ranks)


def _parts(**shares: float) -> dict[Any, float]:
    return {"start": 0.0, "example": 0.0, "object": 0.0, "separator": 0.0, "query": 0.0} | shares


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """As it is read from a file: lists for tuples, names for numbers that are keys."""
    return dict(json.loads(json.dumps(document)))
