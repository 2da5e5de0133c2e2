"""How well a ranking of edges or nodes finds those of a reference circuit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.errors import KCircuitsError

Level = Literal["edge", "node"]


@dataclass(frozen=True)
class Roc:
    """A receiver operating characteristic.

    Parameters
    ----------
    fpr, tpr
        Share of the others and share of the reference's that the ranking has taken, float64 [T + 1]: from
        (0, 0), one point for each of its T distinct scores, the greatest first.
    auc
        Area under it: the probability that one of the reference's is ranked before one of the others, an
        equal score counting one half. None where there are none of either, and no curve.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    auc: float | None


def roc(ranking: Circuit | np.ndarray, reference: Circuit, level: Level = "edge") -> Roc:
    """Rank all edges of the graph by |score| and compare with a reference circuit.

    Parameters
    ----------
    ranking
        Scores of the reference's graph, [S, R] (`Scores.matrix`), or a circuit of the same model, whose
        missing edges have the score 0.
    reference
        The circuit that is taken for true.
    level
        `node`: rank the heads and MLPs instead, each by the greatest |score| of the edges that it sends; the
        reference's are those that send along one of its edges. `input` and `logits`, which are in every
        circuit, are left out.

    Raises
    ------
    KCircuitsError
        If the ranking belongs to another model, or is not finite.

    Examples
    --------
    >>> from kcircuits.circuit import Edge
    >>> from kcircuits.graph.identity import graph_of
    >>> identity = {"num_layers": 1, "num_heads": 1, "num_kv_heads": 1, "weights_hash": "0"}
    >>> graph = graph_of(identity)
    >>> circuit = Circuit(graph, identity, "acdc", {}, {}, (Edge("input", "m0", 0.5),), {})
    >>> roc(circuit, circuit).auc
    1.0
    """
    if isinstance(ranking, Circuit):
        ranking.check_model(reference.model)
        ranking = _matrix(ranking)
    valid = reference.graph.valid
    if ranking.shape != valid.shape or not np.isfinite(ranking).all():
        raise KCircuitsError(
            f"a ranking must be finite and {list(valid.shape)}, as the reference's graph; "
            f"got {list(ranking.shape)}"
        )
    strength = np.where(valid, np.abs(ranking), 0)
    true = reference.mask()
    if level == "node":
        return _roc(strength.max(axis=1)[1:], true.max(axis=1)[1:])  # sender 0 is `input`
    return _roc(strength[valid], true[valid])


def _matrix(circuit: Circuit) -> np.ndarray:
    graph = circuit.graph
    matrix = np.zeros(graph.valid.shape)
    for edge in circuit.edges:
        matrix[graph.sender_index(edge.sender), graph.receiver_index(edge.receiver)] = edge.score
    return matrix


def _roc(scores: np.ndarray, true: np.ndarray) -> Roc:
    """The curve of scores, [n], for those that are true, bool [n]; equal scores are taken together."""
    distinct, place = np.unique(-scores, return_inverse=True)  # greatest score first
    hits = np.bincount(place, weights=true, minlength=len(distinct)).cumsum()
    misses = np.bincount(place, weights=~true, minlength=len(distinct)).cumsum()
    tpr, fpr = (np.concatenate([[0], taken]) / max(1, taken[-1]) for taken in (hits, misses))
    if not hits[-1] or not misses[-1]:
        return Roc(fpr, tpr, None)
    return Roc(fpr, tpr, float((np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum()))
