"""Graphs, random masks and circuits for tests of everything that takes a circuit."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from kcircuits.circuit import Circuit, Edge
from kcircuits.graph import Graph, LayerShape
from kcircuits.graph.identity import graph_fields
from kcircuits.scores import Scores

UNEVEN = Graph.of_layers([LayerShape(2, 1, has_mlp=False), LayerShape(4, 2), LayerShape(2, 2)])
"""A layer without MLP, and layers of other numbers of heads."""


def identity_for(graph: Graph, name: str = "tiny", weights_hash: str = "0" * 64) -> dict[str, Any]:
    return {"name": name, **graph_fields(graph), "weights_hash": weights_hash}


def circuit_of(graph: Graph, *edges: str | Edge, **fields: Any) -> Circuit:
    """A circuit of edges, which may be written "input->m0" (score 1) or "input->m0 -0.25"."""
    defaults: dict[str, Any] = {
        "model": identity_for(graph),
        "method": "acdc",
        "settings": {"threshold": 0.01, "metric": "nll"},
        "metric": {"full": 0.5, "circuit": 0.75, "empty": 9.0},
        "stats": {"tests": 20, "evaluations": 25, "seconds": 0.5},
    }
    parsed = tuple(edge if isinstance(edge, Edge) else _parsed(edge) for edge in edges)
    return Circuit(graph=graph, edges=parsed, **(defaults | fields))


def _parsed(text: str) -> Edge:
    name, _, score = text.partition(" ")
    sender, _, receiver = name.partition("->")
    return Edge(sender, receiver, float(score or 1))


def circuit_of_mask(graph: Graph, mask: np.ndarray, rng: np.random.Generator, **fields: Any) -> Circuit:
    """A circuit of the edges in a mask, with random scores of both signs."""
    return circuit_of(
        graph,
        *(f"{graph.senders[s]}->{graph.receivers[r]} {rng.normal()!r}" for s, r in np.argwhere(mask)),
        **fields,
    )


def scores_for(graph: Graph, rng: np.random.Generator, **fields: Any) -> Scores:
    """Random scores of both signs for every edge of a graph."""
    defaults: dict[str, Any] = {
        "model": identity_for(graph),
        "method": "eap",
        "settings": {"metric": "nll", "ablation": "corrupt"},
    }
    matrix = np.where(graph.valid, rng.normal(size=graph.valid.shape), 0)
    return Scores(graph=graph, matrix=matrix, **(defaults | fields))


@st.composite
def graphs(draw: st.DrawFn, max_layers: int = 3, max_groups: int = 3) -> Graph:
    num_kv_heads = draw(st.integers(1, max_groups))
    return Graph(
        num_layers=draw(st.integers(1, max_layers)),
        num_heads=num_kv_heads * draw(st.integers(1, 3)),
        num_kv_heads=num_kv_heads,
        parallel=draw(st.booleans()),
    )


@st.composite
def uneven_graphs(draw: st.DrawFn, max_layers: int = 3, max_groups: int = 3) -> Graph:
    """Graphs of layers that differ: in their heads, and in whether they have an MLP."""
    groups = st.integers(1, max_groups)
    layers = draw(
        st.lists(st.tuples(groups, st.integers(0, 3), st.booleans()), min_size=2, max_size=max_layers)
    )
    shapes = [LayerShape(size * kv, kv if size else 0, mlp) for kv, size, mlp in layers]
    assume(any(shape.num_heads for shape in shapes))
    graph = Graph.of_layers(shapes, draw(st.booleans()))
    assume(not graph.is_regular)
    return graph


def all_graphs(max_layers: int = 3, max_groups: int = 3) -> st.SearchStrategy[Graph]:
    return graphs(max_layers, max_groups) | uneven_graphs(max(2, max_layers), max_groups)


@st.composite
def masks(draw: st.DrawFn, graph: Graph) -> np.ndarray:
    """Any mask of edges of a graph, from sparse to full."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.floats(0, 1))
    return graph.valid & (rng.random(graph.valid.shape) <= density)
