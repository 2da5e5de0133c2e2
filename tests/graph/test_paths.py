"""Pruning against a search for paths in an explicit graph of senders and receivers."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.graph import Graph
from kcircuits.graph.paths import prune_mask, shaping_table
from tests.circuits import all_graphs, circuit_of, masks
from tests.golden import eap_golden


def edges_on_paths(graph: Graph, mask: np.ndarray) -> set[tuple[int, int]]:
    """The specification: u->v is on a path if `input` leads to u, and v to `logits`."""
    explicit = nx.DiGraph()
    explicit.add_nodes_from([("sends", "input"), ("receives", "logits")])
    edges = [(int(s), int(r)) for s, r in np.argwhere(mask)]
    for sender, receiver in edges:
        explicit.add_edge(("sends", graph.senders[sender]), ("receives", graph.receivers[receiver]))
    for receiver in graph.receivers[:-1]:
        for node in graph.nodes_of(receiver):
            explicit.add_edge(("receives", receiver), ("sends", node))
    after = nx.descendants(explicit, ("sends", "input")) | {("sends", "input")}
    before = nx.ancestors(explicit, ("receives", "logits")) | {("receives", "logits")}
    return {
        (sender, receiver)
        for sender, receiver in edges
        if ("sends", graph.senders[sender]) in after and ("receives", graph.receivers[receiver]) in before
    }


@given(st.data())
def test_against_a_search(data):
    graph = data.draw(all_graphs())
    mask = data.draw(masks(graph))
    assert {(s, r) for s, r in np.argwhere(prune_mask(graph, mask))} == edges_on_paths(graph, mask)


@pytest.mark.parametrize(
    ("edges", "kept"),
    [
        (["input->a0.h0<q>", "a0.h0->logits"], 2),
        (["input->a0.h0<v>", "a0.h1->logits"], 2),  # the group's other head
        (["input->a0.h0<q>", "a0.h1->logits"], 0),
        (["input->a0.h1<k>", "a0.h1->logits"], 0),  # key 1 belongs to heads 2 and 3
        (["input->m0", "m0->m1"], 0),
        (["m0->m1", "m1->logits"], 0),
        (["input->m0", "m0->logits", "m0->m1", "a1.h0->m1"], 2),
    ],
)
def test_cases(edges, kept):
    circuit = circuit_of(Graph(2, 4, 2), *edges)
    assert prune_mask(circuit.graph, circuit.mask()).sum() == kept


@pytest.mark.parametrize("model", ["gpt2", "llama"])
@pytest.mark.parametrize("top", [20, 60, 150])
@pytest.mark.parametrize("method", ["eap", "eap_ig_inputs_5"])
def test_prunes_as_the_official_library(model, top, method):
    golden = eap_golden(model)
    graph = Graph(3, 4, 4)
    assert (tuple(golden["src"]), set(golden["dst"])) == (graph.senders, set(graph.receivers))
    order = [list(golden["dst"]).index(name) for name in graph.receivers]
    strength = np.where(graph.valid, np.abs(golden[method][:, order]), -1)
    mask = np.zeros_like(graph.valid)
    mask.flat[np.argsort(-strength, axis=None, kind="stable")[:top]] = True
    kept = {f"{graph.senders[s]}->{graph.receivers[r]}" for s, r in np.argwhere(prune_mask(graph, mask))}
    assert kept == set(golden[f"{method}_top{top}_edges"])


def test_shaping_is_shared_and_read_only():
    table = shaping_table(Graph(2, 4, 2))
    assert table is shaping_table(Graph(2, 4, 2))
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = False
