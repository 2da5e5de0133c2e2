"""Find, measure, draw and explain knowledge circuits in language models.

Examples
--------
    import kcircuits

    model = kcircuits.load_model("demo")
    prompts = kcircuits.relation_prompts(
        kcircuits.load_relation("country-language"),
        model.tokenizer, model.spec.vocab_size, model.spec.max_positions, limit=1,
    ).prompts
    circuit = kcircuits.discover(model, prompts, method="acdc", threshold=0.01)
    print(kcircuits.evaluate(circuit, model, prompts).faithfulness)

Names are imported when they are first used, so that `import kcircuits` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kcircuits._version import __version__
    from kcircuits.analysis.compare import compare
    from kcircuits.analysis.curves import layer_curves
    from kcircuits.analysis.hallucination import hallucinations
    from kcircuits.analysis.heads import read_heads
    from kcircuits.analysis.in_context import in_context_learning
    from kcircuits.analysis.knockout import knockout
    from kcircuits.analysis.roles import head_roles
    from kcircuits.checking import check_model
    from kcircuits.circuit import Circuit, Edge
    from kcircuits.data.few_shot import few_shot_pairs
    from kcircuits.data.prompts import Prompt, read_prompts, tokenise
    from kcircuits.data.relations import load_relation, relation_prompts
    from kcircuits.discover import attribute, discover
    from kcircuits.editing.edit import EditedModel, edit, edit_each
    from kcircuits.editing.explain import explain_edit
    from kcircuits.editing.flows import node_flows
    from kcircuits.editing.neighbours import read_neighbours
    from kcircuits.editing.records.reading import read_requests
    from kcircuits.editing.request import EditRequest
    from kcircuits.errors import KCircuitsError
    from kcircuits.evaluate import evaluate
    from kcircuits.graph import Graph
    from kcircuits.model.loading import Model, load_model
    from kcircuits.profile import profiled
    from kcircuits.scores import Scores
    from kcircuits.selection import Selection, select
    from kcircuits.sizes import compare_sizes
    from kcircuits.sweep import sweep

__all__ = [
    "Circuit",
    "Edge",
    "EditRequest",
    "EditedModel",
    "Graph",
    "KCircuitsError",
    "Model",
    "Prompt",
    "Scores",
    "Selection",
    "__version__",
    "attribute",
    "check_model",
    "compare",
    "compare_sizes",
    "discover",
    "edit",
    "edit_each",
    "evaluate",
    "explain_edit",
    "few_shot_pairs",
    "hallucinations",
    "head_roles",
    "in_context_learning",
    "knockout",
    "layer_curves",
    "load_model",
    "load_relation",
    "node_flows",
    "profiled",
    "read_heads",
    "read_neighbours",
    "read_prompts",
    "read_requests",
    "relation_prompts",
    "select",
    "sweep",
    "tokenise",
]

_HOMES = {
    "Circuit": "kcircuits.circuit",
    "Edge": "kcircuits.circuit",
    "EditRequest": "kcircuits.editing.request",
    "EditedModel": "kcircuits.editing.edit",
    "Graph": "kcircuits.graph",
    "KCircuitsError": "kcircuits.errors",
    "Model": "kcircuits.model.loading",
    "Prompt": "kcircuits.data.prompts",
    "Scores": "kcircuits.scores",
    "Selection": "kcircuits.selection",
    "attribute": "kcircuits.discover",
    "check_model": "kcircuits.checking",
    "compare": "kcircuits.analysis.compare",
    "compare_sizes": "kcircuits.sizes",
    "edit": "kcircuits.editing.edit",
    "edit_each": "kcircuits.editing.edit",
    "explain_edit": "kcircuits.editing.explain",
    "few_shot_pairs": "kcircuits.data.few_shot",
    "hallucinations": "kcircuits.analysis.hallucination",
    "head_roles": "kcircuits.analysis.roles",
    "in_context_learning": "kcircuits.analysis.in_context",
    "knockout": "kcircuits.analysis.knockout",
    "layer_curves": "kcircuits.analysis.curves",
    "load_model": "kcircuits.model.loading",
    "load_relation": "kcircuits.data.relations",
    "node_flows": "kcircuits.editing.flows",
    "profiled": "kcircuits.profile",
    "read_heads": "kcircuits.analysis.heads",
    "read_neighbours": "kcircuits.editing.neighbours",
    "read_prompts": "kcircuits.data.prompts",
    "read_requests": "kcircuits.editing.records.reading",
    "relation_prompts": "kcircuits.data.relations",
    "select": "kcircuits.selection",
    "tokenise": "kcircuits.data.prompts",
}
# Packages that can be called like the function of the same name in them (kcircuits.callable_package).
_CALLABLE = ("discover", "evaluate", "sweep")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("kcircuits._version").__version__
    if name in _CALLABLE:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
