"""Circuits as sets of nodes and edges: their overlap and their frequency by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kcircuits.circuit import Circuit
from kcircuits.graph import Graph
from kcircuits.graph.paths import shaping_table


def nodes_of_mask(graph: Graph, mask: np.ndarray) -> np.ndarray:
    """The nodes at the ends of a mask's edges, as in `Circuit.nodes`.

    Parameters
    ----------
    graph
        The full graph.
    mask
        Present edges, bool [S, R].

    Returns
    -------
    np.ndarray
        bool [S + 1]: the senders, and `logits`.

    Examples
    --------
    >>> graph = Graph(num_layers=1, num_heads=2, num_kv_heads=1)
    >>> nodes_of_mask(graph, graph.valid).tolist()
    [True, True, True, True, True]
    """
    sends = mask.any(axis=1)
    owned = shaping_table(graph)  # [R, S]
    sending = owned & sends
    # Of the heads that share a key or value, those with outgoing edges, or all of them if none has any.
    told = np.where(sending.any(axis=1, keepdims=True), sending, owned)[mask.any(axis=0)].any(axis=0)
    return np.append(sends | told, mask[:, -1].any())


def node_members(graph: Graph, circuits: Sequence[Circuit]) -> np.ndarray:
    """Which nodes each of C circuits of a graph has, bool [C, S + 1]."""
    return np.stack([nodes_of_mask(graph, circuit.mask()) for circuit in circuits])


def edge_members(circuits: Sequence[Circuit]) -> np.ndarray:
    """Which edges each of C circuits has, bool [C, E], of the E edges that any of them has."""
    edges = [np.flatnonzero(circuit.mask()) for circuit in circuits]
    known = np.unique(np.concatenate(edges))
    return np.stack([np.isin(known, each, assume_unique=True) for each in edges])


def jaccard(members: np.ndarray) -> np.ndarray:
    """|Na ∩ Nb| / |Na ∪ Nb| of sets given as bool [C, U]; float64 [C, C]; 1 where both are empty.

    Examples
    --------
    >>> jaccard(np.array([[True, True, False], [False, True, True]])).round(2).tolist()
    [[1.0, 0.33], [0.33, 1.0]]
    """
    common = _common(members)
    sizes = common.diagonal()
    return _share(common, sizes[:, None] + sizes - common)


def reverse_overlap(members: np.ndarray) -> np.ndarray:
    """|Na ∩ Nb| / |Nb|, the share of b (column) that a (row) has, of sets given as bool [C, U].

    Returns
    -------
    np.ndarray
        float64 [C, C]; 1 where b is empty.
    """
    common = _common(members)
    return _share(common, np.broadcast_to(common.diagonal(), common.shape))


def layer_frequency(graph: Graph, nodes: np.ndarray) -> np.ndarray:
    """How often the nodes of each layer are in C circuits.

    Parameters
    ----------
    graph
        The full graph.
    nodes
        The result of `node_members`, bool [C, S + 1], C at least 1.

    Returns
    -------
    np.ndarray
        float64 [L, 2]: the share of circuits that have a head of the layer, mean over its heads, and the
        share that have its MLP. 0 if the layer has none.
    """
    by_layer = graph.by_layer(nodes[:, :-1])  # bool, so that sums are exact
    heads = np.array([max(1, shape.num_heads) for shape in graph.layers])
    return np.stack([by_layer[:, :, :-1].sum(axis=(0, 2)), by_layer[:, :, -1].sum(axis=0)], axis=1) / (
        len(nodes) * np.stack([heads, np.ones_like(heads)], axis=1)
    )


def shared_backbone(graph: Graph, nodes: np.ndarray, least: float) -> tuple[tuple[str, float], ...]:
    """The heads and MLPs in at least a share `least` of C circuits, with their shares, in falling order.

    `nodes` is the result of `node_members`. `input` and `logits` are left out: connected circuits have them.
    """
    shares = nodes[:, 1:-1].mean(axis=0)
    order = np.argsort(-shares, kind="stable")
    return tuple((graph.senders[1 + node], float(shares[node])) for node in order if shares[node] >= least)


def score_entropy(circuit: Circuit) -> float | None:
    """Entropy of a circuit's scores in nats: −Σ p log p, p = |score| / Σ |score|.

    Its exponential is the number of equally strong edges that would have this entropy. None if all scores are
    0, as in circuits of tools that give no scores.
    """
    scores = np.abs([edge.score for edge in circuit.edges])
    largest = scores.max(initial=0)
    if largest == 0:
        return None
    scores = scores / largest  # a sum of very large ones would overflow
    shares = scores[scores > 0] / scores.sum()
    return float(-(shares * np.log(shares)).sum()) + 0.0  # no negative zero


def _common(members: np.ndarray) -> np.ndarray:
    counts = members.astype(np.float64)
    common: np.ndarray = counts @ counts.T
    return common


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.ones_like(part), where=whole > 0)
