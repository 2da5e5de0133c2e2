"""Random connected circuits of a given size, the baseline for discovered circuits."""

from __future__ import annotations

import numpy as np

from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.graph.paths import shaping_table


def random_connected_mask(graph: Graph, num_edges: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a circuit of exactly `num_edges` edges, each on a path from `input` to `logits`.

    The circuit grows by edges drawn uniformly from the absent ones. If no edge leads into the sender of a new
    edge yet, one is added; if no edge leads out of its receiver yet, one is added. Each of these is drawn
    uniformly from the edges that connect to the present circuit. Once every node is connected, the remaining
    edges are drawn uniformly without replacement. If few edges remain to be added, only edges that still fit
    are drawn, and if none fits, the procedure restarts.

    All edges are thus treated alike except for these connections, which favour `input`, `logits` and the
    edges of nodes with few neighbours (those of the last layer). This is not the uniform distribution over
    all connected circuits of the size, for which no practical exact sampler is known.

    Parameters
    ----------
    graph
        The full graph.
    num_edges
        From 1 (only `input->logits`) to `graph.num_edges`.
    rng
        Source of randomness; the same state gives the same circuit.

    Returns
    -------
    np.ndarray
        Present edges, bool [S, R].

    Raises
    ------
    KCircuitsError
        If there is no circuit of this size.

    Examples
    --------
    >>> graph = Graph(num_layers=2, num_heads=2, num_kv_heads=1)
    >>> int(random_connected_mask(graph, 7, np.random.default_rng(0)).sum())
    7
    """
    if not 1 <= num_edges <= graph.num_edges:
        raise KCircuitsError(f"a circuit of this graph has 1 to {graph.num_edges} edges, got {num_edges}")
    while True:
        growth = _Growth(graph, num_edges, rng)
        growth.draw_freely()
        growth.draw_what_fits()
        if growth.left == 0:
            return growth.mask


class _Growth:
    """A growing circuit; after every draw, each of its edges lies on a path.

    Equivalently, every sender in use except `input` has an edge into one of its receivers (it is reached),
    and every receiver in use except `logits` belongs to a sender in use (it leads on).
    """

    def __init__(self, graph: Graph, num_edges: int, rng: np.random.Generator) -> None:
        self.graph, self.left, self.rng = graph, num_edges, rng
        self.shaping = shaping_table(graph)
        self.mask = np.zeros_like(graph.valid)
        self.reached = np.zeros(len(graph.senders), dtype=bool)
        self.reached[0] = True
        self.sends = np.zeros(len(graph.senders), dtype=bool)
        self.leads_on = np.zeros(len(graph.receivers), dtype=bool)
        self.leads_on[-1] = True

    @property
    def all_connected(self) -> bool:
        return bool(self.reached.all() and self.sends.all())

    def draw_freely(self) -> None:
        """Draw edges until all nodes are connected or the next draw, of up to three edges, may not fit."""
        edges = np.argwhere(self.graph.valid)
        while self.left >= 3 and not self.all_connected:
            # Skipping present edges makes this a uniform draw from the absent ones.
            sender, receiver = edges[self.rng.integers(len(edges))]
            if not self.mask[sender, receiver]:
                self._add_connected(sender, receiver)

    def draw_what_fits(self) -> None:
        """Draw the remaining edges from those that fit; stop early if there are none."""
        while self.left and not self.all_connected:
            cost = 1 + ~self.reached[:, None] + ~self.leads_on[None, :]
            fitting = np.argwhere(self.graph.valid & ~self.mask & (cost <= self.left))
            if len(fitting) == 0:
                return
            self._add_connected(*self.rng.choice(fitting))
        absent = np.flatnonzero(self.graph.valid & ~self.mask)
        self.mask.flat[self.rng.choice(absent, size=self.left, replace=False, shuffle=False)] = True
        self.left = 0

    def _add_connected(self, sender: int, receiver: int) -> None:
        """Add an edge and connect its two ends where they are not connected yet."""
        if not self.reached[sender]:
            self._add_one_of(self.reached, self.shaping[:, sender])
        if not self.leads_on[receiver]:
            self._add_one_of(self.shaping[receiver], self.leads_on)
        self._add(sender, receiver)

    def _add_one_of(self, senders: np.ndarray, receivers: np.ndarray) -> None:
        """Add one of the edges from `senders`, bool [S], to `receivers`, bool [R]."""
        candidates = np.ix_(np.flatnonzero(senders), np.flatnonzero(receivers))
        row, column = self.rng.choice(np.argwhere(self.graph.valid[candidates]))
        self._add(candidates[0][row, 0], candidates[1][0, column])

    def _add(self, sender: int, receiver: int) -> None:
        self.mask[sender, receiver] = True
        self.left -= 1
        self.reached |= self.shaping[receiver]
        self.sends[sender] = True
        self.leads_on |= self.shaping[:, sender]
