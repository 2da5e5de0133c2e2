"""The score matrix of an attribution, its file, and the selection of a circuit from it.

Heavy names are imported when they are first used, so that the options of a selection cost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kcircuits.scores.scores import Scores, edges_of

__all__ = ["Scores", "edges_of"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("kcircuits.scores.scores"), name)
