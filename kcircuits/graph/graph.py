"""The residual-stream graph as data: senders and receivers, their indices, the edges.

Two tables define it: `Graph.nodes`, the senders in the order in which the model computes them, and
`Graph.readers`, the receivers with the number of senders computed before each. Names, edges and the tables
for the compiled engine are derived from these two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from kcircuits.errors import KCircuitsError
from kcircuits.graph.nodes import (
    NODE_KINDS,
    RECEIVER_KINDS,
    LayerShape,
    Node,
    NodeKind,
    Receiver,
    ReceiverKind,
    head_of,
    kind_of,
    layer_of,
)

__all__ = [
    "Graph",
    "LayerShape",
    "Node",
    "NodeKind",
    "Receiver",
    "ReceiverKind",
    "head_of",
    "kind_of",
    "layer_of",
]


_MOST_SHOWN = 6


@dataclass(frozen=True, repr=False)
class Graph:
    """The full graph of a decoder.

    A sender (source) is a node that writes to the residual stream; a receiver (destination) is an input that
    reads from it. Senders, in the order in which the model computes them: `input`, then per layer `a{l}.h{i}`
    for each query head and `m{l}`. Receivers, likewise: per layer `a{l}.h{i}<q>` for each query head,
    `a{l}.h{j}<k>` and `a{l}.h{j}<v>` for each key/value head, and `m{l}`; finally `logits`.
    An edge exists from a sender to every receiver computed after it, so the senders of a receiver are
    always the first `num_senders_of[receiver]` ones.

    Parameters
    ----------
    num_layers, num_heads, num_kv_heads
        Number of layers, and of query heads and key/value heads per layer; if layers differ, the maximum.
    parallel
        True where attention and MLP read the same stream (GPT-J, NeoX): the heads of layer l do not
        feed `m{l}`.
    shapes
        Heads and MLP of each layer, if layers differ; `Graph.of_layers` builds a graph from these alone.

    Raises
    ------
    KCircuitsError
        If `shapes` contradict the other numbers.

    Examples
    --------
    >>> graph = Graph(num_layers=1, num_heads=2, num_kv_heads=1)
    >>> graph.senders
    ('input', 'a0.h0', 'a0.h1', 'm0')
    >>> graph.receivers
    ('a0.h0<q>', 'a0.h1<q>', 'a0.h0<k>', 'a0.h0<v>', 'm0', 'logits')
    >>> graph.num_edges
    11
    >>> Graph.of_layers([LayerShape(1, 1, has_mlp=False), LayerShape(2, 1)]).senders
    ('input', 'a0.h0', 'a1.h0', 'a1.h1', 'm1')
    """

    num_layers: int
    num_heads: int
    num_kv_heads: int
    parallel: bool = False
    shapes: tuple[LayerShape, ...] = ()

    def __post_init__(self) -> None:
        if not self.shapes:
            return
        most = [max(getattr(one, each) for one in self.shapes) for each in ("num_heads", "num_kv_heads")]
        if [len(self.shapes), *most] != [self.num_layers, self.num_heads, self.num_kv_heads]:
            raise KCircuitsError(f"the shapes of the layers do not match the graph's sizes: {self}")
        if all(shape.has_mlp and shape == self.shapes[0] for shape in self.shapes):
            object.__setattr__(self, "shapes", ())  # one graph, one way to write it

    @classmethod
    def of_layers(cls, layers: Iterable[LayerShape], parallel: bool = False) -> Graph:
        """The graph of layers, at least one, that each have their own shape."""
        shapes = tuple(layers)
        heads = max((shape.num_heads for shape in shapes), default=0)
        kv_heads = max((shape.num_kv_heads for shape in shapes), default=0)
        return cls(len(shapes), heads, kv_heads, parallel, shapes)

    def __repr__(self) -> str:
        names = ("num_layers", "num_heads", "num_kv_heads", "parallel")
        parts = [f"{name}={getattr(self, name)!r}" for name in names]
        if self.shapes:  # in error messages, which are short
            more = ", ..." if len(self.shapes) > _MOST_SHOWN else ""
            parts.append(f"layers=[{', '.join(map(str, self.shapes[:_MOST_SHOWN]))}{more}]")
        return f"Graph({', '.join(parts)})"

    @cached_property
    def layers(self) -> tuple[LayerShape, ...]:
        """The shape of each layer, [L]."""
        return self.shapes or (LayerShape(self.num_heads, self.num_kv_heads),) * self.num_layers

    @property
    def is_regular(self) -> bool:
        """Whether all layers have the same heads and an MLP."""
        return not self.shapes

    @property
    def shares_keys(self) -> bool:
        """Whether heads share keys and values in some layer."""
        return any(shape.num_kv_heads < shape.num_heads for shape in self.layers)

    @property
    def largest(self) -> LayerShape:
        """The layer with the most receivers, which memory estimates are based on."""
        return max(self.layers, key=lambda shape: shape.num_receivers)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The senders as data, [S]."""
        return _tables(self.layers, self.parallel)[0]

    @property
    def readers(self) -> tuple[Receiver, ...]:
        """The receivers as data, [R]."""
        return _tables(self.layers, self.parallel)[1]

    @cached_property
    def node_table(self) -> np.ndarray:
        """`nodes` as numbers, int64 [S, 3]: index of the kind in NODE_KINDS, layer or −1, index."""
        rows = [(NODE_KINDS.index(node.kind), _number(node.layer), node.index) for node in self.nodes]
        return np.array(rows, dtype=np.int64)

    @cached_property
    def receiver_table(self) -> np.ndarray:
        """`readers` as numbers, int64 [R, 4].

        Columns: index of the kind in RECEIVER_KINDS, layer or −1, index, number of senders.
        """
        rows = [
            (RECEIVER_KINDS.index(one.kind), _number(one.layer), one.index, one.num_senders)
            for one in self.readers
        ]
        return np.array(rows, dtype=np.int64)

    @cached_property
    def senders(self) -> tuple[str, ...]:
        """Names of the senders, [S]."""
        return tuple(node.name for node in self.nodes)

    @cached_property
    def receivers(self) -> tuple[str, ...]:
        """Names of the receivers, [R]."""
        return tuple(receiver.name for receiver in self.readers)

    @cached_property
    def num_senders_of(self) -> np.ndarray:
        """How many senders feed each receiver (always the first ones), int64 [R]."""
        return self.receiver_table[:, 3].copy()

    @cached_property
    def valid(self) -> np.ndarray:
        """Which pairs are edges, bool [S, R]."""
        valid: np.ndarray = np.arange(len(self.senders))[:, None] < self.num_senders_of[None, :]
        return valid

    @property
    def num_edges(self) -> int:
        """Number of edges of the full graph."""
        return int(self.num_senders_of.sum())

    @cached_property
    def _sender_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.senders)}

    @cached_property
    def _receiver_index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.receivers)}

    def sender_index(self, name: str) -> int:
        """Index of a sender; raises KCircuitsError for a name that this graph does not have."""
        try:
            return self._sender_index[name]
        except KeyError:
            raise KCircuitsError(f"no sender {name!r} in {self}") from None

    def receiver_index(self, name: str) -> int:
        """Index of a receiver; raises KCircuitsError for a name that this graph does not have."""
        try:
            return self._receiver_index[name]
        except KeyError:
            raise KCircuitsError(f"no receiver {name!r} in {self}") from None

    def index_of_node(self, kind: NodeKind, layer: int | None = None, index: int = 0) -> int:
        """`sender_index` of a node as data."""
        return self.sender_index(Node(kind, layer, index).name)

    def index_of_receiver(self, kind: ReceiverKind, layer: int | None = None, index: int = 0) -> int:
        """`receiver_index` of a receiver as data."""
        return self.receiver_index(Receiver(kind, layer, index).name)

    def senders_before(self, layer: int) -> int:
        """Number of senders computed before a layer."""
        return 1 + sum(shape.num_nodes for shape in self.layers[:layer])

    def by_layer(self, values: np.ndarray) -> np.ndarray:
        """Arrange values of senders by layer: the heads in order, then the MLP.

        Parameters
        ----------
        values
            Array [..., S].

        Returns
        -------
        np.ndarray
            Array [..., L, H + 1] of the same dtype, without `input`; 0 where a layer has no such node.
        """
        table = np.zeros((*values.shape[:-1], self.num_layers, self.num_heads + 1), dtype=values.dtype)
        kinds, layers, indices = self.node_table[1:].T
        places = np.where(kinds == NODE_KINDS.index("mlp"), self.num_heads, indices)
        table[..., layers, places] = values[..., 1:]
        return table

    def shaped_by(self, receiver: Receiver) -> tuple[Node, ...]:
        """The senders whose output depends on a receiver: its head or MLP, or all heads of a group.

        `logits` has none.
        """
        layer, index = receiver.layer, receiver.index
        if layer is None:
            return ()
        if receiver.kind == "mlp":
            return (Node("mlp", layer),)
        size = 1 if receiver.kind == "q" else self.layers[layer].group_size
        return tuple(Node("head", layer, head) for head in range(index * size, (index + 1) * size))

    def nodes_of(self, receiver: str) -> tuple[str, ...]:
        """The names of the nodes that a receiver belongs to: an MLP, a head, or every query head of a group.

        Raises KCircuitsError for a name that this graph does not have.
        """
        shaped = self.shaped_by(self.readers[self.receiver_index(receiver)])
        return tuple(node.name for node in shaped) or (receiver,)

    def ungroup(self) -> Graph:
        """The graph in which every query head has its own key and value; unchanged if that is so already."""
        shapes = tuple(replace(shape, num_kv_heads=shape.num_heads) for shape in self.shapes)
        return replace(self, num_kv_heads=self.num_heads, shapes=shapes)


@lru_cache(maxsize=8)
def _tables(layers: tuple[LayerShape, ...], parallel: bool) -> tuple[tuple[Node, ...], tuple[Receiver, ...]]:
    """All senders and receivers in the order in which a model computes them."""
    nodes, receivers = [Node("input")], []
    for layer, shape in enumerate(layers):
        before = len(nodes)
        receivers += [Receiver("q", layer, head, before) for head in range(shape.num_heads)]
        receivers += [Receiver("k", layer, head, before) for head in range(shape.num_kv_heads)]
        receivers += [Receiver("v", layer, head, before) for head in range(shape.num_kv_heads)]
        nodes += [Node("head", layer, head) for head in range(shape.num_heads)]
        if shape.has_mlp:
            receivers.append(Receiver("mlp", layer, 0, before if parallel else len(nodes)))
            nodes.append(Node("mlp", layer))
    receivers.append(Receiver("logits", None, 0, len(nodes)))
    return tuple(nodes), tuple(receivers)


def _number(layer: int | None) -> int:
    return -1 if layer is None else layer
