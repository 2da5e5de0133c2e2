"""Golden score matrices in the shape of our graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from kcircuits.data.prompts import Prompt
from kcircuits.graph import Graph
from kcircuits.model.loading import Model
from kcircuits.model.spec import Layer
from tests.golden import eap_golden

MEANS = {"exact", "ifr"}
"""Matrices that are means over prompts already; the others were divided by the batch size twice."""


def golden_prompts(name: str) -> tuple[Prompt, ...]:
    arrays = eap_golden(name)
    rows = zip(*(arrays[key].tolist() for key in ("clean", "corrupt", "labels")), strict=True)
    return tuple(
        Prompt(tuple(clean), answer, tuple(corrupt), wrong) for clean, corrupt, (answer, wrong) in rows
    )


def ungrouped(model: Model) -> Model:
    """The same model with a key and a value of its own for every query head, as the golden graphs have it."""
    spec = model.spec
    times = spec.num_heads // spec.num_kv_heads

    def repeated(weight: Tensor | None) -> Tensor | None:
        if weight is None:
            return None
        return weight.unflatten(0, (-1, spec.head_dim)).repeat_interleave(times, dim=0).flatten(0, 1)

    def changed(layer: Layer) -> Layer:
        parts = {name: repeated(getattr(layer.attention, name)) for name in ("w_k", "w_v", "b_k", "b_v")}
        return replace(layer, attention=replace(layer.attention, **parts))

    layers = tuple(map(changed, spec.layers))
    identity = {**model.identity, "num_kv_heads": spec.num_heads}
    return Model(replace(spec, num_kv_heads=spec.num_heads, layers=layers), model.tokenizer, identity)


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
