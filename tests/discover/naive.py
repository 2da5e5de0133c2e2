"""ACDC as it is written down: one edge after the other, one forward pass each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kcircuits.graph import Graph


@dataclass
class Naive:
    """The search; `margin` is how close the closest of its decisions was to the threshold.

    With `mixes_heads`, what a head sends depends on all heads of its layer, so that who reads one reads all.
    """

    graph: Graph
    metric: Callable[[np.ndarray], float]
    threshold: float
    absolute: bool
    mixes_heads: bool = False
    effects: dict[tuple[str, str], float] = field(default_factory=dict)
    tests: int = 0
    margin: float = np.inf

    def run(self) -> Naive:
        self.mask = self.graph.valid.copy()
        self.value = self.metric(self.mask)
        self.test_edges("logits")
        for layer in reversed(range(self.graph.num_layers)):
            if self.is_read(f"m{layer}"):
                self.test_edges(f"m{layer}")
            heads = {"v": self.graph.num_kv_heads, "k": self.graph.num_kv_heads, "q": self.graph.num_heads}
            receivers = [
                f"a{layer}.h{head}<{kind}>" for kind in "vkq" for head in reversed(range(heads[kind]))
            ]
            alive = [receiver for receiver in receivers if self.is_read(receiver)]
            for receiver in [r for r in alive if self.test(r, self.graph.senders)[0]]:
                alive.remove(receiver)
            for receiver in alive:
                self.test_edges(receiver)
        return self

    def is_read(self, receiver: str) -> bool:
        """False, and all edges into the receiver removed, if nothing reads the node behind it."""
        nodes = self.graph.nodes_of(receiver)
        if self.mixes_heads and nodes[0].startswith("a"):
            layer = nodes[0].partition(".")[0]
            nodes = tuple(f"{layer}.h{head}" for head in range(self.graph.num_heads))
        senders = [self.graph.sender_index(node) for node in nodes]
        if not self.mask[senders].any():
            self.mask[:, self.graph.receiver_index(receiver)] = False
            return False
        return True

    def test_edges(self, receiver: str) -> None:
        for layer in reversed(range(self.graph.num_layers)):
            for sender in [f"m{layer}", *(f"a{layer}.h{head}" for head in range(self.graph.num_heads))]:
                self.test_edge(sender, receiver)
        self.test_edge("input", receiver)

    def test_edge(self, sender: str, receiver: str) -> None:
        if self.graph.valid[self.graph.sender_index(sender), self.graph.receiver_index(receiver)]:
            removed, effect = self.test(receiver, (sender,))
            if not removed:
                self.effects[sender, receiver] = effect

    def test(self, receiver: str, senders: tuple[str, ...]) -> tuple[bool, float]:
        without = self.mask.copy()
        without[[self.graph.sender_index(name) for name in senders], self.graph.receiver_index(receiver)] = (
            False
        )
        value = self.metric(without)
        effect = value - self.value
        size = abs(effect) if self.absolute else effect
        self.tests += 1
        self.margin = min(self.margin, abs(size - self.threshold))
        if size < self.threshold:
            self.mask, self.value = without, value
        return size < self.threshold, effect
