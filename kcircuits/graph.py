"""The residual-stream graph: names and indices of senders and receivers (DESIGN: nodes, receivers, edges)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kcircuits.errors import KCircuitsError


@dataclass(frozen=True)
class Graph:
    """The full graph of a decoder.

    Senders, in the order the model computes them: `input`, then per layer `a{l}.h{i}` for each query
    head and `m{l}`. Receivers, likewise: per layer `a{l}.h{i}<q>` for each query head, `a{l}.h{j}<k>`
    and `a{l}.h{j}<v>` for each key/value head, and `m{l}`; finally `logits`.
    An edge exists from a sender to every receiver computed after it, so the senders of a receiver are
    always the first `num_senders_of[receiver]` ones.

    Parameters
    ----------
    num_layers, num_heads, num_kv_heads
        Layers, query heads and key/value heads per layer.
    parallel
        True where attention and MLP read the same stream (GPT-J, NeoX): the heads of layer l do not
        feed `m{l}`.

    Examples
    --------
    >>> graph = Graph(num_layers=1, num_heads=2, num_kv_heads=1)
    >>> graph.senders
    ('input', 'a0.h0', 'a0.h1', 'm0')
    >>> graph.receivers
    ('a0.h0<q>', 'a0.h1<q>', 'a0.h0<k>', 'a0.h0<v>', 'm0', 'logits')
    >>> graph.num_edges
    11
    """

    num_layers: int
    num_heads: int
    num_kv_heads: int
    parallel: bool = False

    @cached_property
    def senders(self) -> tuple[str, ...]:
        """Names of the senders, [S]."""
        names = ["input"]
        for layer in range(self.num_layers):
            names += [f"a{layer}.h{head}" for head in range(self.num_heads)]
            names.append(f"m{layer}")
        return tuple(names)

    @cached_property
    def receivers(self) -> tuple[str, ...]:
        """Names of the receivers, [R]."""
        names = []
        for layer in range(self.num_layers):
            names += [f"a{layer}.h{head}<q>" for head in range(self.num_heads)]
            names += [f"a{layer}.h{head}<k>" for head in range(self.num_kv_heads)]
            names += [f"a{layer}.h{head}<v>" for head in range(self.num_kv_heads)]
            names.append(f"m{layer}")
        names.append("logits")
        return tuple(names)

    @cached_property
    def num_senders_of(self) -> np.ndarray:
        """How many senders feed each receiver (always the first ones), int64 [R]."""
        counts: list[int] = []
        for layer in range(self.num_layers):
            before = 1 + layer * (self.num_heads + 1)
            counts += [before] * (self.num_heads + 2 * self.num_kv_heads)
            counts.append(before if self.parallel else before + self.num_heads)
        counts.append(len(self.senders))
        return np.array(counts, dtype=np.int64)

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

    def nodes_of(self, receiver: str) -> tuple[str, ...]:
        """The nodes whose output this receiver shapes: the sender of an MLP, every query head of a group."""
        if receiver == "logits" or receiver.startswith("m"):
            return (receiver,)
        head_name, _, kind = receiver.partition("<")
        if kind == "q>":
            return (head_name,)
        layer, _, head = head_name.partition(".h")
        group = self.num_heads // self.num_kv_heads
        first = int(head) * group
        return tuple(f"{layer}.h{query}" for query in range(first, first + group))


def layer_of(name: str) -> int | None:
    """Layer of a node or receiver; None for `input` and `logits`, which stand outside the layers.

    Examples
    --------
    >>> layer_of("a3.h0<v>"), layer_of("m12"), layer_of("logits")
    (3, 12, None)
    """
    return None if name in ("input", "logits") else int(name[1:].partition(".")[0])


def head_of(name: str) -> tuple[int, int] | None:
    """Layer and number of a head; None for a node that is none.

    Examples
    --------
    >>> head_of("a3.h11"), head_of("m3")
    ((3, 11), None)
    """
    if not name.startswith("a"):
        return None
    layer, _, head = name[1:].partition(".h")
    return int(layer), int(head)
