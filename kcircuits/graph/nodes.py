"""The parts of the residual-stream graph: senders, receivers and layers as data, and their names.

Names are composed and parsed only in this file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from kcircuits.errors import KCircuitsError

NodeKind = Literal["input", "head", "mlp"]
ReceiverKind = Literal["q", "k", "v", "mlp", "logits"]
NODE_KINDS: tuple[NodeKind, ...] = ("input", "head", "mlp")
"""Kinds of nodes, numbered as in `Graph.node_table`; csrc/engine/graph.h has the same order."""
RECEIVER_KINDS: tuple[ReceiverKind, ...] = ("q", "k", "v", "mlp", "logits")
"""Kinds of receivers, numbered as in `Graph.receiver_table`."""


@dataclass(frozen=True, slots=True)
class Node:
    """A sender. `index` is the query head within the layer; `input` has no layer."""

    kind: NodeKind
    layer: int | None = None
    index: int = 0

    @property
    def name(self) -> str:
        """The name in files and messages: `input`, `a3.h5`, `m3`."""
        match self.kind:
            case "input":
                return "input"
            case "head":
                return f"a{self.layer}.h{self.index}"
        return f"m{self.layer}"


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver, which reads the first `num_senders` senders. `index` is the query or key/value head."""

    kind: ReceiverKind
    layer: int | None = None
    index: int = 0
    num_senders: int = 0

    @property
    def name(self) -> str:
        """The name in files and messages: `a3.h5<q>`, `m3`, `logits`."""
        match self.kind:
            case "logits":
                return "logits"
            case "mlp":
                return f"m{self.layer}"
        return f"a{self.layer}.h{self.index}<{self.kind}>"


@dataclass(frozen=True)
class LayerShape:
    """The shape of one layer: query heads, key/value heads (shared evenly), with an MLP or without."""

    num_heads: int
    num_kv_heads: int
    has_mlp: bool = True

    def __post_init__(self) -> None:
        counts = (self.num_heads, self.num_kv_heads)
        if min(counts) < 0 or (0 in counts and any(counts)) or (any(counts) and counts[0] % counts[1]):
            raise KCircuitsError(f"num_heads must be a multiple of num_kv_heads, got {self}")

    def __str__(self) -> str:
        return f"{self.num_heads}/{self.num_kv_heads} heads{'' if self.has_mlp else ' without MLP'}"

    @property
    def num_nodes(self) -> int:
        """Number of senders of the layer."""
        return self.num_heads + self.has_mlp

    @property
    def num_attention_receivers(self) -> int:
        """Number of receivers of queries, keys and values."""
        return self.num_heads + 2 * self.num_kv_heads

    @property
    def num_receivers(self) -> int:
        """Number of receivers of the layer."""
        return self.num_attention_receivers + self.has_mlp

    @property
    def group_size(self) -> int:
        """Number of query heads that share a key/value head."""
        return self.num_heads // max(1, self.num_kv_heads)


_NAME = re.compile(r"a(?P<head_layer>\d+)\.h(?P<head>\d+)(?:<(?P<part>[qkv])>)?|m(?P<layer>\d+)")


@lru_cache(maxsize=2**16)
def _place_of(name: str) -> tuple[str, int | None, int]:
    """Kind, layer and index of a node, a receiver or `logits`, from its name."""
    if name in ("input", "logits"):
        return name, None, 0
    match = _NAME.fullmatch(name)
    if match is None:
        raise KCircuitsError(f"no node or receiver of any model is called {name!r}")
    if match["layer"] is not None:
        return "mlp", int(match["layer"]), 0
    return match["part"] or "head", int(match["head_layer"]), int(match["head"])


def kind_of(name: str) -> str:
    """Kind of a receiver, "q", "k", "v", "mlp" or "logits", or of a node, "input", "head", "mlp" or "logits".

    Examples
    --------
    >>> kind_of("a3.h0<v>"), kind_of("a3.h0"), kind_of("m3"), kind_of("logits")
    ('v', 'head', 'mlp', 'logits')
    """
    return _place_of(name)[0]


def layer_of(name: str) -> int | None:
    """Layer of a node or receiver; None for `input` and `logits`, which belong to no layer.

    Examples
    --------
    >>> layer_of("a3.h0<v>"), layer_of("m12"), layer_of("logits")
    (3, 12, None)
    """
    return _place_of(name)[1]


def head_of(name: str) -> tuple[int, int] | None:
    """Layer and number of a head, or of a query, key or value; None for an MLP, `input` and `logits`.

    Examples
    --------
    >>> head_of("a3.h11"), head_of("a3.h1<k>"), head_of("m3")
    ((3, 11), (3, 1), None)
    """
    kind, layer, index = _place_of(name)
    return None if layer is None or kind == "mlp" else (layer, index)
