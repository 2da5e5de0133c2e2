"""The nodes that an edit changes, and the nodes that read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kcircuits.editing.delta import Delta, LowRank
from kcircuits.graph import Graph, Node
from kcircuits.graph.paths import shaping_table
from kcircuits.model.spec import ModelSpec


def edited_nodes(delta: Delta, spec: ModelSpec) -> tuple[str, ...]:
    """The MLPs whose w_down an edit changes, and the heads whose part of w_o it changes."""
    found = set()
    for name, part in delta.parts.items():
        layer, block = name.split(".")[1:3]
        if block == "mlp":
            found.add(Node("mlp", int(layer)).name)
            continue
        matrix = part.matrix if isinstance(part, LowRank) else part
        by_head = matrix.unflatten(1, (spec.num_heads, spec.head_dim)).abs().amax(dim=(0, 2))
        found |= {Node("head", int(layer), head).name for head in by_head.nonzero()[:, 0].tolist()}
    return tuple(node for node in spec.graph.senders if node in found)


def downstream(graph: Graph, nodes: Sequence[str]) -> np.ndarray:
    """Some nodes and all nodes that read them, bool [S].

    Examples
    --------
    >>> graph = Graph(num_layers=2, num_heads=1, num_kv_heads=1)
    >>> [graph.senders[n] for n in np.flatnonzero(downstream(graph, ["m0"]))]
    ['m0', 'a1.h0', 'm1']
    """
    indices = [graph.sender_index(node) for node in nodes]
    # All later nodes read the readers of a node, so one step along the edges is enough.
    reading = np.any(shaping_table(graph)[np.any(graph.valid[indices], axis=0)], axis=0)
    reading[indices] = True
    return reading
