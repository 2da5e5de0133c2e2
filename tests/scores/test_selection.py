"""Selection by scores: against slow, obvious versions, and the official library's circuits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.graph.paths import prune_mask
from kcircuits.scores.selection import Selection, select, select_sizes
from tests.circuits import all_graphs
from tests.golden import eap_golden
from tests.shared import shared_path

TINY = Graph(num_layers=1, num_heads=2, num_kv_heads=1)
Place = tuple[int, int]


@st.composite
def scored_graphs(draw: st.DrawFn) -> tuple[Graph, np.ndarray]:
    """A small graph with scores that are often equal, and something else where there is no edge."""
    graph = draw(all_graphs(max_layers=2, max_groups=2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.integers(1, 8))
    matrix = rng.integers(-levels, levels + 1, size=graph.valid.shape) / 4
    return graph, np.where(graph.valid, matrix, 99.0)


def strength(matrix: np.ndarray, place: Place, absolute: bool) -> float:
    return abs(matrix[place]) if absolute else matrix[place]


def best_edges(graph: Graph, matrix: np.ndarray, size: int, absolute: bool) -> list[Place]:
    """Top-n, written as its definition."""
    edges = [(int(s), int(r)) for s, r in np.argwhere(graph.valid)]
    allowed = [edge for edge in edges if absolute or matrix[edge] > 0]
    return sorted(allowed, key=lambda edge: (-strength(matrix, edge, absolute), edge))[:size]


def greedy_edges(graph: Graph, matrix: np.ndarray, size: int, absolute: bool) -> list[Place]:
    """The greedy walk, looking at every edge anew in every step."""
    nodes, taken = {"logits"}, []
    order = best_edges(graph, matrix, graph.num_edges, absolute)
    while len(taken) < size:
        candidates = [
            edge
            for edge in order
            if edge not in taken and nodes.intersection(graph.nodes_of(graph.receivers[edge[1]]))
        ]
        if not candidates:
            break
        taken.append(candidates[0])
        nodes.add(graph.senders[candidates[0][0]])
    return taken


def mask_of(graph: Graph, edges: list[Place]) -> np.ndarray:
    mask = np.zeros_like(graph.valid)
    for edge in edges:
        mask[edge] = True
    return mask


def selected(graph: Graph, matrix: np.ndarray, selection: Selection) -> np.ndarray:
    """What `select` gives, or a mask without edges where nothing is left."""
    try:
        return select(graph, matrix, selection)
    except KCircuitsError as error:
        assert "nothing is left" in str(error)
        return np.zeros_like(graph.valid)


@given(scored_graphs(), st.integers(0, 60), st.booleans(), st.booleans())
def test_sizes_against_the_definition(scored, size, absolute, greedy):
    graph, matrix = scored
    slow = (greedy_edges if greedy else best_edges)(graph, matrix, size, absolute)
    expected = prune_mask(graph, mask_of(graph, slow))
    (mask,) = select_sizes(graph, matrix, [size], absolute=absolute, greedy=greedy)
    assert (mask == expected).all()


@given(scored_graphs(), st.integers(1, 60), st.booleans(), st.booleans())
def test_select_agrees_with_select_sizes(scored, top_n, absolute, greedy):
    graph, matrix = scored
    sizes = [top_n, 0, graph.num_edges, top_n]
    masks = select_sizes(graph, matrix, sizes, absolute=absolute, greedy=greedy)
    mask = selected(graph, matrix, Selection(top_n=top_n, absolute=absolute, greedy=greedy))
    assert (mask == masks[0]).all()
    assert (mask == masks[3]).all()
    assert not masks[1].any()
    assert mask.sum() <= top_n
    assert (prune_mask(graph, mask) == mask).all()
    assert (mask <= masks[2]).all()


@given(scored_graphs(), st.booleans(), st.booleans())
def test_everything_of_positive_strength_comes_in_the_end(scored, absolute, greedy):
    graph, matrix = scored
    (mask,) = select_sizes(graph, matrix, [graph.num_edges], absolute=absolute, greedy=greedy)
    allowed = graph.valid if absolute else graph.valid & (matrix > 0)
    assert (mask == prune_mask(graph, allowed)).all()


@given(scored_graphs(), st.booleans())
def test_circuits_grow_with_their_size(scored, absolute):
    graph, matrix = scored
    for greedy in (False, True):
        masks = select_sizes(graph, matrix, range(graph.num_edges + 1), absolute=absolute, greedy=greedy)
        assert all((small <= large).all() for small, large in pairwise(masks))


@given(scored_graphs(), st.integers(1, 40), st.booleans())
def test_greedy_leaves_no_dead_end_towards_the_sink(scored, size, absolute):
    """Each edge that the walk takes leads on to `logits`: only what `input` does not reach is pruned."""
    graph, matrix = scored
    walk = greedy_edges(graph, matrix, size, absolute)
    mask = mask_of(graph, walk)
    fed = np.vstack([graph.valid[:1], mask[1:]])  # `input` reaches everything
    kept = prune_mask(graph, fed)
    assert (kept[1:] == mask[1:]).all()
    (result,) = select_sizes(graph, matrix, [size], absolute=absolute, greedy=True)
    assert (result <= mask).all()


@given(scored_graphs(), st.floats(0, 2), st.booleans())
def test_threshold(scored, threshold, absolute):
    graph, matrix = scored
    strong = [
        (int(s), int(r))
        for s, r in np.argwhere(graph.valid)
        if strength(matrix, (s, r), absolute) >= threshold
    ]
    mask = selected(graph, matrix, Selection(threshold=threshold, absolute=absolute))
    assert (mask == prune_mask(graph, mask_of(graph, strong))).all()


@given(scored_graphs(), st.integers(1, 12), st.booleans())
def test_nodes(scored, top_n, absolute):
    graph, matrix = scored
    scores = np.where(graph.valid, matrix, 0).sum(axis=1)
    names = [name for name in graph.senders[1:] if absolute or scores[graph.sender_index(name)] > 0]
    best = sorted(names, key=lambda name: -strength(scores, graph.sender_index(name), absolute))[:top_n]
    nodes = {"input", "logits", *best}
    expected = np.zeros_like(graph.valid)
    for sender, receiver in np.argwhere(graph.valid):
        owners = graph.nodes_of(graph.receivers[receiver])
        expected[sender, receiver] = graph.senders[sender] in nodes and bool(nodes.intersection(owners))
    mask = select(graph, matrix, Selection(top_n=top_n, absolute=absolute, level="node"))
    assert (mask == expected).all()
    if best:
        weakest = strength(scores, graph.sender_index(best[-1]), absolute)
        assume(
            sum(strength(scores, graph.sender_index(name), absolute) >= weakest for name in names) == top_n
        )
        by_threshold = Selection(threshold=weakest, absolute=absolute, level="node")
        assert (select(graph, matrix, by_threshold) == mask).all()


@pytest.mark.parametrize("model", ["gpt2", "llama"])
@pytest.mark.parametrize("top_n", [20, 60, 150])
@pytest.mark.parametrize("method", ["eap", "eap_ig_inputs_5"])
def test_selects_as_the_official_library(model, top_n, method):
    golden = eap_golden(model)
    graph = Graph(3, 4, 4)
    columns = [list(golden["dst"]).index(name) for name in graph.receivers]
    mask = select(graph, golden[method][:, columns], Selection(top_n=top_n))
    kept = {f"{graph.senders[s]}->{graph.receivers[r]}" for s, r in np.argwhere(mask)}
    assert kept == set(golden[f"{method}_top{top_n}_edges"])


@pytest.mark.parametrize("method", ["eap", "eap_ig_inputs_5"])
def test_selects_as_the_official_library_on_a_real_model(method):
    path = shared_path("golden", "smollm2", "eap_golden.npz")
    graph = Graph(30, 9, 9)  # the library has one key and value per query head
    with np.load(path, allow_pickle=False) as golden:
        columns = [list(golden["dst"]).index(name) for name in graph.receivers]
        mask = select(graph, golden[method][:, columns], Selection(top_n=500))
        expected = set(golden[f"{method}_top500_edges"])
    assert {f"{graph.senders[s]}->{graph.receivers[r]}" for s, r in np.argwhere(mask)} == expected


def test_the_greedy_walk_of_a_big_graph():
    graph = Graph(30, 9, 3)
    matrix = np.random.default_rng(0).normal(size=graph.valid.shape)
    small, large = select_sizes(graph, matrix, [500, 5000], greedy=True)
    assert 0 < small.sum() <= 500 < large.sum() <= 5000
    assert (small <= large).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give either a top-n or a threshold; got none"),
        ({"top_n": 3, "threshold": 0.1}, "give either a top-n or a threshold; got both"),
        ({"top_n": 0}, "from 1 on, got 0"),
        ({"top_n": True}, "from 1 on, got True"),
        ({"top_n": 2.5}, "from 1 on, got 2.5"),
        ({"threshold": float("nan")}, "the threshold must be a finite number, got nan"),
        ({"threshold": "high"}, "the threshold must be a finite number, got 'high'"),
        ({"threshold": -0.1}, r"a threshold of \|score\| must be at least 0, got -0.1"),
        ({"top_n": 3, "level": "head"}, "level must be 'edge' or 'node', got 'head'"),
        ({"threshold": 0.1, "greedy": True}, "greedy selection works only with a top-n"),
        ({"top_n": 3, "greedy": True, "level": "node"}, "greedy selection works only with a top-n"),
    ],
)
def test_selections_that_make_no_sense(fields, message):
    with pytest.raises(KCircuitsError, match=message):
        Selection(**fields)


def test_nothing_left_says_what_to_do():
    matrix = np.zeros((4, 6))
    matrix[0, :4] = 1  # edges into heads that nothing reads
    with pytest.raises(
        KCircuitsError, match=r"of the 4 edges chosen, none .* larger top-n or a lower threshold"
    ):
        select(TINY, matrix, Selection(top_n=4))
    with pytest.raises(KCircuitsError, match="of the 0 edges chosen"):
        select(TINY, -matrix, Selection(threshold=0.5, absolute=False))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (TINY.valid, r"a float array \[4, 6\] for Graph.*, got bool \[4, 6\]"),
        (np.zeros((6, 4)), r"got float64 \[6, 4\]"),
        (np.full((4, 6), np.nan), "scores must be finite"),
    ],
)
def test_scores_that_do_not_fit(matrix, message):
    with pytest.raises(KCircuitsError, match=message):
        select(TINY, matrix, Selection(top_n=1))
    with pytest.raises(KCircuitsError, match=message):
        select_sizes(TINY, matrix, [1])


@pytest.mark.parametrize("size", [-1, 1.5, True])
def test_sizes_that_make_no_sense(size):
    with pytest.raises(KCircuitsError, match="a size must be a whole number from 0 on"):
        select_sizes(TINY, np.zeros((4, 6)), [1, size])
