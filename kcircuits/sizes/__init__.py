"""Comparison of methods: faithfulness of their circuits over circuit size.

Slow imports happen at the first use, so that importing the options is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kcircuits.sizes.options import DEFAULT_METHODS, SizeOptions
from kcircuits.sizes.random_circuits import RandomCircuits

if TYPE_CHECKING:
    from kcircuits.sizes.comparison import LEVELS, MethodCurve, Point, SizeComparison
    from kcircuits.sizes.methods import make_methods
    from kcircuits.sizes.progress import MethodProgress
    from kcircuits.sizes.run import check_methods, compare_sizes

__all__ = [
    "DEFAULT_METHODS",
    "LEVELS",
    "MethodCurve",
    "MethodProgress",
    "Point",
    "RandomCircuits",
    "SizeComparison",
    "SizeOptions",
    "check_methods",
    "compare_sizes",
    "make_methods",
]

_HOMES = {
    "LEVELS": "comparison",
    "MethodCurve": "comparison",
    "MethodProgress": "progress",
    "Point": "comparison",
    "SizeComparison": "comparison",
    "check_methods": "run",
    "compare_sizes": "run",
    "make_methods": "methods",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"kcircuits.sizes.{_HOMES[name]}"), name)
