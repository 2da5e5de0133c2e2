"""Finding circuits: one file per method, the registry of methods, and the functions that run them.

Heavy names are imported when they are first used, so that the methods' options cost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kcircuits.discovery.acdc import Acdc
from kcircuits.discovery.eap import CleanCorrupted, Eap, EapIg, EapIgActivations, Relp
from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.discovery.exact import Exact, exact_scores
from kcircuits.discovery.ifr import Ifr
from kcircuits.discovery.method import Found, Method, Scorer, Search
from kcircuits.discovery.methods import METHODS, method_and_selection, method_of, scoring_methods
from kcircuits.discovery.progress import Progress, ProgressCallback, Steps

if TYPE_CHECKING:
    from kcircuits.discovery.run import StaleMetricError, attribute, discover, select_circuit

__all__ = [
    "METHODS",
    "Acdc",
    "CleanCorrupted",
    "Eap",
    "EapIg",
    "EapIgActivations",
    "EdgePruning",
    "Exact",
    "Found",
    "Ifr",
    "Method",
    "Progress",
    "ProgressCallback",
    "Relp",
    "Scorer",
    "Search",
    "StaleMetricError",
    "Steps",
    "attribute",
    "discover",
    "exact_scores",
    "method_and_selection",
    "method_of",
    "scoring_methods",
    "select_circuit",
]

_HEAVY = ("StaleMetricError", "attribute", "discover", "select_circuit")


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("kcircuits.discovery.run"), name)
