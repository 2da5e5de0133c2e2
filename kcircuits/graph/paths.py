"""Find the edges of a circuit that lie on a path from `input` to `logits`."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from kcircuits.graph import Graph


@lru_cache(maxsize=8)
def shaping_table(graph: Graph) -> np.ndarray:
    """Whether the output of each sender depends on each receiver, bool [R, S]; all False for `logits`.

    Examples
    --------
    >>> graph = Graph(num_layers=1, num_heads=2, num_kv_heads=1)
    >>> [graph.senders[s] for s in np.flatnonzero(shaping_table(graph)[graph.receiver_index("a0.h0<k>")])]
    ['a0.h0', 'a0.h1']
    """
    table = np.zeros((len(graph.receivers), len(graph.senders)), dtype=bool)
    for index, receiver in enumerate(graph.readers):
        table[index, [graph.sender_index(node.name) for node in graph.shaped_by(receiver)]] = True
    table.setflags(write=False)
    return table


def prune_mask(graph: Graph, mask: np.ndarray) -> np.ndarray:
    """Drop the edges that lie on no path from `input` to `logits`.

    An edge into any receiver of a head (query, key or value) leads on to the edges that leave the head; an
    edge into a shared key or value receiver leads on to every head of its group.

    Parameters
    ----------
    graph
        The full graph.
    mask
        Present edges, bool [S, R].

    Returns
    -------
    np.ndarray
        The present edges that lie on a path, bool [S, R].

    Examples
    --------
    No edge leaves `m0`, so the edge into it lies on no path:

    >>> graph = Graph(num_layers=1, num_heads=1, num_kv_heads=1)
    >>> mask = np.zeros_like(graph.valid)
    >>> mask[graph.sender_index("input"), [graph.receiver_index("m0"), graph.receiver_index("logits")]] = True
    >>> [graph.receivers[r] for _, r in np.argwhere(prune_mask(graph, mask))]
    ['logits']
    """
    table = shaping_table(graph)
    num_senders = len(graph.senders)

    reached = np.zeros(num_senders, dtype=bool)  # from `input`
    reached[0] = True
    receives = np.zeros(len(graph.receivers), dtype=bool)
    for sender in range(num_senders):  # in the order of computation, so what comes before is settled
        reached[sender] |= (receives & table[:, sender]).any()
        if reached[sender]:
            receives |= mask[sender]

    leads_on = np.zeros(len(graph.receivers), dtype=bool)  # to `logits`
    leads_on[-1] = True
    for sender in reversed(range(num_senders)):
        if (mask[sender] & leads_on).any():
            leads_on |= table[:, sender]

    kept: np.ndarray = mask & reached[:, None] & leads_on[None, :]
    return kept
