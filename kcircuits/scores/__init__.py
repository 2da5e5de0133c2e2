"""The score matrix of an attribution, its file, and the selection of a circuit from it."""

from kcircuits.scores.scores import Scores, edges_of

__all__ = ["Scores", "edges_of"]
