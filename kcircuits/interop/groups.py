"""Convert between keys and values per query head, as in other tools, and per key/value head, as here."""

from __future__ import annotations

import numpy as np

from kcircuits.graph import Graph


def ungroup(graph: Graph) -> Graph:
    """The graph in which every query head has its own key and value; equal to `graph` if that is so."""
    return graph.ungroup()


def merge_groups(graph: Graph, matrix: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert from one key and value per query head to the key/value heads of the graph.

    Parameters
    ----------
    graph
        The model's graph.
    matrix, mask
        Scores, and present edges, bool; both [S, receivers of `ungroup(graph)`].

    Returns
    -------
    matrix, mask : np.ndarray
        Scores, float64 [S, R]: the sum over each group of heads that share a key or value. Present edges,
        bool [S, R]: an edge is present if any member of its group is.
    """
    columns = _own_receivers(graph)
    scores = np.zeros(graph.valid.shape)
    present = np.zeros(graph.valid.shape, dtype=bool)
    np.add.at(scores.T, columns, matrix.T)
    np.logical_or.at(present.T, columns, mask.T)
    return scores, present


def match_names(graph: Graph, matrix: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert from the ungrouped graph to the graph's own, where files name keys and values as `graph`.

    There, `a0.h1<k>` is the second key of the model; for `merge_groups` it is the key of the second query
    head. Arguments and result are those of `merge_groups`; only the graph's own receivers may have edges.
    """
    wide = ungroup(graph)
    columns = [wide.receiver_index(name) for name in graph.receivers]
    return matrix[:, columns].astype(np.float64), mask[:, columns]


def spread_groups(graph: Graph, matrix: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert from the key/value heads of the graph to one key and value per query head.

    The inverse of `merge_groups`, up to the distribution of a score over its group.

    Parameters
    ----------
    graph
        The model's graph.
    matrix, mask
        Scores, and present edges, bool; both [S, R].

    Returns
    -------
    matrix, mask : np.ndarray
        Scores, float64, divided evenly among each group, so that their sum is the given score; and present
        edges, bool: all members of a present edge. Both [S, receivers of `ungroup(graph)`].
    """
    columns = _own_receivers(graph)
    members = np.bincount(columns)
    return matrix[:, columns].astype(np.float64) / members[columns], mask[:, columns]


def _own_receivers(graph: Graph) -> np.ndarray:
    """Index of the graph's receiver for each receiver of the ungrouped graph."""
    indices = []
    for wide in ungroup(graph).readers:
        index = wide.index
        if wide.layer is not None and wide.kind in ("k", "v"):
            index //= graph.layers[wide.layer].group_size
        indices.append(graph.index_of_receiver(wide.kind, wide.layer, index))
    return np.array(indices)
