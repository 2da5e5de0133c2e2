"""Find, measure, draw and explain knowledge circuits in language models.

Examples
--------
    import kcircuits as kc

    model = kc.load_model("demo")
    prompts = model.prompts(
        [("The official language of France is", " French", "The official language of Japan is")]
    )
    task = kc.Task(prompts, ablation="corrupt")
    circuit = kc.discover(model, task, kc.Acdc(threshold=0.01))
    print(kc.evaluate(model, task, circuit).faithfulness)

Names are imported when they are first used, so that `import kcircuits` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kcircuits._version import __version__
    from kcircuits.analysis.comparison.reading import compare
    from kcircuits.analysis.curves.reading import layer_curves
    from kcircuits.analysis.hallucination.reading import hallucinations
    from kcircuits.analysis.heads.reading import read_heads
    from kcircuits.analysis.in_context.reading import in_context_learning
    from kcircuits.analysis.knockout.reading import knockout
    from kcircuits.analysis.knockout.text_windows import RunningText
    from kcircuits.analysis.roles.reading import head_roles
    from kcircuits.checking import check_model
    from kcircuits.circuit import Circuit, Edge
    from kcircuits.circuit.drawing import draw
    from kcircuits.data.few_shot import few_shot_pairs
    from kcircuits.data.prompts import Prompt, read_prompts, tokenise
    from kcircuits.data.relations import load_relation, relation_prompts
    from kcircuits.discovery import (
        Acdc,
        CleanCorrupted,
        Eap,
        EapIg,
        EapIgActivations,
        EdgePruning,
        Exact,
        Ifr,
        Relp,
    )
    from kcircuits.discovery.exact import exact_scores
    from kcircuits.discovery.run import attribute, discover
    from kcircuits.editing.edit import EditedModel, edit, edit_each
    from kcircuits.editing.explain import explain_edit
    from kcircuits.editing.flows import node_flows
    from kcircuits.editing.neighbours import read_neighbours
    from kcircuits.editing.records.reading import read_requests
    from kcircuits.editing.request import EditRequest
    from kcircuits.engine.profile import profile_call
    from kcircuits.errors import KCircuitsError
    from kcircuits.evaluation.evaluation import Evaluation
    from kcircuits.evaluation.minimality import minimality
    from kcircuits.evaluation.run import evaluate
    from kcircuits.evaluation.sizes import random_curve, size_curve
    from kcircuits.graph import Graph
    from kcircuits.model.loading import Model, load_model
    from kcircuits.planning.plan import Plan, plan
    from kcircuits.scores import Scores
    from kcircuits.scores.selection import select
    from kcircuits.scores.selection_options import Selection
    from kcircuits.sizes import RandomCircuits, SizeOptions, compare_sizes
    from kcircuits.sweeps.run import sweep
    from kcircuits.task import Task

__all__ = [
    "Acdc",
    "Circuit",
    "CleanCorrupted",
    "Eap",
    "EapIg",
    "EapIgActivations",
    "Edge",
    "EdgePruning",
    "EditRequest",
    "EditedModel",
    "Evaluation",
    "Exact",
    "Graph",
    "Ifr",
    "KCircuitsError",
    "Model",
    "Plan",
    "Prompt",
    "RandomCircuits",
    "Relp",
    "RunningText",
    "Scores",
    "Selection",
    "SizeOptions",
    "Task",
    "__version__",
    "attribute",
    "check_model",
    "compare",
    "compare_sizes",
    "discover",
    "draw",
    "edit",
    "edit_each",
    "evaluate",
    "exact_scores",
    "explain_edit",
    "few_shot_pairs",
    "hallucinations",
    "head_roles",
    "in_context_learning",
    "knockout",
    "layer_curves",
    "load_model",
    "load_relation",
    "minimality",
    "node_flows",
    "plan",
    "profile_call",
    "random_curve",
    "read_heads",
    "read_neighbours",
    "read_prompts",
    "read_requests",
    "relation_prompts",
    "select",
    "size_curve",
    "sweep",
    "tokenise",
]

_HOMES = {
    "Acdc": "kcircuits.discovery",
    "Circuit": "kcircuits.circuit",
    "CleanCorrupted": "kcircuits.discovery",
    "Eap": "kcircuits.discovery",
    "EapIg": "kcircuits.discovery",
    "EapIgActivations": "kcircuits.discovery",
    "Edge": "kcircuits.circuit",
    "EdgePruning": "kcircuits.discovery",
    "EditRequest": "kcircuits.editing.request",
    "EditedModel": "kcircuits.editing.edit",
    "Evaluation": "kcircuits.evaluation.evaluation",
    "Exact": "kcircuits.discovery",
    "Graph": "kcircuits.graph",
    "Ifr": "kcircuits.discovery",
    "KCircuitsError": "kcircuits.errors",
    "Model": "kcircuits.model.loading",
    "Plan": "kcircuits.planning.plan",
    "Prompt": "kcircuits.data.prompts",
    "RandomCircuits": "kcircuits.sizes",
    "Relp": "kcircuits.discovery",
    "RunningText": "kcircuits.analysis.knockout.text_windows",
    "Scores": "kcircuits.scores",
    "Selection": "kcircuits.scores.selection_options",
    "SizeOptions": "kcircuits.sizes",
    "Task": "kcircuits.task",
    "attribute": "kcircuits.discovery.run",
    "check_model": "kcircuits.checking",
    "compare": "kcircuits.analysis.comparison.reading",
    "compare_sizes": "kcircuits.sizes",
    "discover": "kcircuits.discovery.run",
    "draw": "kcircuits.circuit.drawing",
    "edit": "kcircuits.editing.edit",
    "edit_each": "kcircuits.editing.edit",
    "evaluate": "kcircuits.evaluation.run",
    "exact_scores": "kcircuits.discovery.exact",
    "explain_edit": "kcircuits.editing.explain",
    "few_shot_pairs": "kcircuits.data.few_shot",
    "hallucinations": "kcircuits.analysis.hallucination.reading",
    "head_roles": "kcircuits.analysis.roles.reading",
    "in_context_learning": "kcircuits.analysis.in_context.reading",
    "knockout": "kcircuits.analysis.knockout.reading",
    "layer_curves": "kcircuits.analysis.curves.reading",
    "load_model": "kcircuits.model.loading",
    "load_relation": "kcircuits.data.relations",
    "minimality": "kcircuits.evaluation.minimality",
    "node_flows": "kcircuits.editing.flows",
    "plan": "kcircuits.planning.plan",
    "profile_call": "kcircuits.engine.profile",
    "random_curve": "kcircuits.evaluation.sizes",
    "read_heads": "kcircuits.analysis.heads.reading",
    "read_neighbours": "kcircuits.editing.neighbours",
    "read_prompts": "kcircuits.data.prompts",
    "read_requests": "kcircuits.editing.records.reading",
    "relation_prompts": "kcircuits.data.relations",
    "select": "kcircuits.scores.selection",
    "size_curve": "kcircuits.evaluation.sizes",
    "sweep": "kcircuits.sweeps.run",
    "tokenise": "kcircuits.data.prompts",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("kcircuits._version").__version__
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
