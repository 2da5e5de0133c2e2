"""Select a circuit by scores: the best edges or nodes, without those on no path."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.graph import Graph
from kcircuits.graph.paths import prune_mask, shaping_table
from kcircuits.scores.selection_options import Level, Selection, is_integer

__all__ = ["EmptySelectionError", "Level", "Selection", "select", "select_sizes"]


class EmptySelectionError(KCircuitsError):
    """Raised if no selected edge lies on a path from `input` to `logits`."""


def select(graph: Graph, matrix: np.ndarray, selection: Selection) -> np.ndarray:
    """Select a circuit by scores, without edges on no path from `input` to `logits`.

    Parameters
    ----------
    graph
        The full graph.
    matrix
        Scores, [S, R]; entries without an edge are ignored.
    selection
        The rule. At the level of nodes, a key or value receiver that a group of heads shares is kept if any
        head of the group is.

    Returns
    -------
    np.ndarray
        Present edges, bool [S, R]; pruned, so there can be fewer than `top_n`.

    Raises
    ------
    KCircuitsError
        If the scores do not fit the graph, or nothing is left (`EmptySelectionError`).

    References
    ----------
    Hanna et al., "Have Faith in Faithfulness" (arXiv 2403.17806), section 2, for the greedy choice.

    Examples
    --------
    >>> graph = Graph(num_layers=1, num_heads=1, num_kv_heads=1)
    >>> matrix = np.zeros(graph.valid.shape)
    >>> matrix[0, graph.receiver_index("m0")] = 3
    >>> matrix[graph.sender_index("m0"), -1] = -2
    >>> mask = select(graph, matrix, Selection(top_n=2))
    >>> [f"{graph.senders[s]}->{graph.receivers[r]}" for s, r in np.argwhere(mask)]
    ['input->m0', 'm0->logits']
    """
    chosen = choose_edges(graph, matrix, selection)
    mask = prune_mask(graph, chosen)
    if not mask.any():
        raise EmptySelectionError(
            f"nothing is left: of the {int(chosen.sum())} edges chosen, none lies on a path from input to "
            "logits; take a larger top-n or a lower threshold, or select greedily"
        )
    return mask


def choose_edges(graph: Graph, matrix: np.ndarray, selection: Selection) -> np.ndarray:
    """The edges that `select` chooses before it drops those on no path, bool [S, R].

    Parameters
    ----------
    graph, matrix, selection
        As in `select`.

    Raises
    ------
    KCircuitsError
        If the scores do not fit the graph.
    """
    _check_matrix(graph, matrix)
    return (_choose_nodes if selection.level == "node" else _choose_edges)(graph, matrix, selection)


def select_sizes(
    graph: Graph, matrix: np.ndarray, sizes: Sequence[int], *, absolute: bool = True, greedy: bool = False
) -> list[np.ndarray]:
    """Select circuits of many sizes with one sort or one greedy search.

    Parameters
    ----------
    graph, matrix
        The full graph and its scores, as in `select`.
    sizes
        Numbers of edges before pruning, each 0 or more.
    absolute, greedy
        As in `Selection`.

    Returns
    -------
    list of np.ndarray
        For each size the result of `select` with this `top_n`, bool [S, R]; a mask without edges if `select`
        would raise. Before pruning, a smaller circuit is part of every larger one.

    Raises
    ------
    KCircuitsError
        If the scores do not fit the graph, or a size is not a whole number, 0 or more.
    """
    _check_matrix(graph, matrix)
    for size in sizes:
        if not is_integer(size) or size < 0:
            raise KCircuitsError(f"a size must be a whole number from 0 on, got {quote(size)}")
    order = _order(graph, matrix, absolute, greedy, max(sizes, default=0))
    return [prune_mask(graph, _mask_of(graph, order[:size])) for size in sizes]


def _choose_edges(graph: Graph, matrix: np.ndarray, selection: Selection) -> np.ndarray:
    if selection.top_n is None:
        chosen: np.ndarray = graph.valid & (_strength(matrix, selection.absolute) >= selection.threshold)
        return chosen
    return _mask_of(graph, _order(graph, matrix, selection.absolute, selection.greedy, selection.top_n))


def _choose_nodes(graph: Graph, matrix: np.ndarray, selection: Selection) -> np.ndarray:
    scores = np.where(graph.valid, matrix, 0).sum(axis=1, dtype=np.float64)
    strength = _strength(scores, selection.absolute)[1:]
    kept = np.zeros(len(graph.senders), dtype=bool)
    kept[0] = True
    if selection.top_n is None:
        kept[1:] = strength >= selection.threshold
    else:
        kept[1 + _rank(strength, selection.absolute)[: selection.top_n]] = True
    reads: np.ndarray = shaping_table(graph) @ kept
    reads[-1] = True
    chosen: np.ndarray = graph.valid & kept[:, None] & reads[None, :]
    return chosen


def _order(graph: Graph, matrix: np.ndarray, absolute: bool, greedy: bool, most: int) -> np.ndarray:
    """Indices of edges in the flattened matrix in the order of selection, at most `most`, int64."""
    edges = np.flatnonzero(graph.valid)
    ranked = edges[_rank(_strength(matrix.flat[edges], absolute), absolute)]
    return _greedy(graph, ranked, most) if greedy else ranked[:most]


def _greedy(graph: Graph, ranked: np.ndarray, most: int) -> np.ndarray:
    """Search from `logits` backwards; `ranked` are the candidate edges, the best first."""
    num_receivers = len(graph.receivers)
    rank = np.full(graph.valid.shape, len(ranked))
    rank.flat[ranked] = np.arange(len(ranked))
    into = shaping_table(graph).T  # [S, R]: receivers that a sender adds
    admitted = np.zeros(num_receivers, dtype=bool)
    candidates: list[int] = []  # a heap of ranks

    def admit(receivers: np.ndarray) -> None:
        for receiver in np.flatnonzero(receivers & ~admitted):
            column = rank[:, receiver]
            for candidate in column[column < len(ranked)].tolist():
                heapq.heappush(candidates, candidate)
        admitted[receivers] = True

    admit(np.arange(num_receivers) == num_receivers - 1)
    taken: list[int] = []
    while candidates and len(taken) < most:
        edge = int(ranked[heapq.heappop(candidates)])
        taken.append(edge)
        admit(into[edge // num_receivers])
    return np.array(taken, dtype=np.int64)


def _rank(strength: np.ndarray, absolute: bool) -> np.ndarray:
    """Indices by decreasing strength, ties in the given order, without those that top-n never selects."""
    order = np.argsort(-strength, kind="stable")
    return order if absolute else order[strength[order] > 0]


def _strength(scores: np.ndarray, absolute: bool) -> np.ndarray:
    return np.abs(scores) if absolute else scores


def _mask_of(graph: Graph, edges: np.ndarray) -> np.ndarray:
    mask = np.zeros_like(graph.valid)
    mask.flat[edges] = True
    return mask


def _check_matrix(graph: Graph, matrix: np.ndarray) -> None:
    if matrix.shape != graph.valid.shape or matrix.dtype.kind != "f":
        expected = f"a float array {list(graph.valid.shape)}"
        raise KCircuitsError(
            f"scores must be {expected} for {graph}, got {matrix.dtype} {list(matrix.shape)}"
        )
    if not np.isfinite(matrix[graph.valid]).all():
        raise KCircuitsError("scores must be finite, but some are not")
