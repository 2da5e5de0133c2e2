"""Golden score matrices in the shape of our graph."""

from __future__ import annotations

import numpy as np

from kcircuits.data.prompts import Prompt
from kcircuits.graph import Graph
from tests.golden import eap_golden

MEANS = {"exact", "ifr"}
"""Matrices that are means over prompts already; the others were divided by the batch size twice."""


def golden_prompts(name: str) -> tuple[Prompt, ...]:
    arrays = eap_golden(name)
    rows = zip(*(arrays[key].tolist() for key in ("clean", "corrupt", "labels")), strict=True)
    return tuple(
        Prompt(tuple(clean), answer, tuple(corrupt), wrong) for clean, corrupt, (answer, wrong) in rows
    )


def golden_scores(name: str, which: str, graph: Graph) -> np.ndarray:
    """A matrix, [S, R], as a mean over prompts; shared keys and values get the sum over their group."""
    arrays = eap_golden(name)
    matrix = arrays[which] * (1 if which in MEANS else len(arrays["clean"]))
    scores = np.zeros(graph.valid.shape)
    senders = [graph.sender_index(str(sender)) for sender in arrays["src"]]
    for column, receiver in zip(matrix.T, arrays["dst"], strict=True):
        scores[senders, graph.receiver_index(grouped(str(receiver), graph))] += column
    return scores * graph.valid


def grouped(receiver: str, graph: Graph) -> str:
    """Our name of a receiver whose key or value was named after a query head."""
    if receiver[-3:] not in ("<k>", "<v>"):
        return receiver
    head, _, kind = receiver.partition("<")
    layer, _, number = head.partition(".h")
    return f"{layer}.h{int(number) // (graph.num_heads // graph.num_kv_heads)}<{kind}"
