"""ROC and AUC against counting pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import roc
from kcircuits.graph import Graph
from tests.circuits import circuit_of, circuit_of_mask, graphs, identity_for, masks

GRAPH = Graph(1, 2, 1)


def pairwise_auc(scores: np.ndarray, true: np.ndarray) -> float | None:
    """Share of pairs (one of the reference's, one of the others) in the right order; a tie is half a pair."""
    pairs = [(a > b) + (a == b) / 2 for a in scores[true] for b in scores[~true]]
    return sum(pairs) / len(pairs) if pairs else None


def check(result, scores: np.ndarray, true: np.ndarray) -> None:
    expected = pairwise_auc(scores, true)
    assert result.auc == (None if expected is None else pytest.approx(expected))
    assert len(result.fpr) == len(result.tpr) == 1 + len(set(scores.tolist()))
    assert (result.fpr[0], result.tpr[0]) == (0, 0)
    for taken, threshold in enumerate(sorted(set(scores.tolist()), reverse=True), start=1):
        for rates, of in ((result.tpr, true), (result.fpr, ~true)):
            assert rates[taken] == pytest.approx((scores[of] >= threshold).sum() / max(1, of.sum()))


@st.composite
def rankings(draw: st.DrawFn):
    """Scores with few distinct values, garbage where there is no edge, and a reference circuit."""
    graph = draw(graphs(max_layers=2, max_groups=2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    matrix = rng.integers(-3, 4, size=graph.valid.shape).astype(np.float32)
    return graph, matrix, circuit_of_mask(graph, draw(masks(graph)), rng)


@given(rankings())
def test_edges(ranking):
    graph, matrix, reference = ranking
    scores = np.abs(matrix[graph.valid])
    check(roc(matrix, reference), scores, reference.mask()[graph.valid])


@given(rankings())
def test_nodes(ranking):
    graph, matrix, reference = ranking
    scores = np.array([max(np.abs(row[valid])) for row, valid in zip(matrix, graph.valid, strict=True)])
    sending = {edge.sender for edge in reference.edges}
    true = np.array([sender in sending for sender in graph.senders])
    check(roc(matrix, reference, "node"), scores[1:], true[1:])


@given(rankings(), st.data())
def test_a_circuit_ranks_by_its_scores_and_the_rest_last(ranking, data):
    graph, _, reference = ranking
    found = circuit_of_mask(graph, data.draw(masks(graph)), np.random.default_rng(0))
    matrix = np.zeros(graph.valid.shape)
    for edge in found.edges:
        matrix[graph.sender_index(edge.sender), graph.receiver_index(edge.receiver)] = edge.score
    assert roc(found, reference).auc == roc(matrix, reference).auc


def test_known_values():
    reference = circuit_of(GRAPH, "input->m0", "m0->logits")
    assert roc(reference, reference).auc == roc(reference, reference, "node").auc == 1
    half = circuit_of(GRAPH, "input->m0 -2", "input->logits 1")
    # One of 2 found first, the other tied with 8 of the 9 others; the ninth stands before it.
    assert roc(half, reference).auc == pytest.approx((9 + 4) / 18)
    assert roc(np.zeros(GRAPH.valid.shape), reference).auc == 0.5


def test_a_reference_without_edges_or_with_all_has_no_auc():
    nothing = circuit_of(GRAPH)
    everything = circuit_of_mask(GRAPH, GRAPH.valid, np.random.default_rng(0))
    for reference in (nothing, everything):
        for level in ("edge", "node"):
            assert roc(everything, reference, level).auc is None


def test_bad_input():
    reference = circuit_of(GRAPH, "input->m0")
    with pytest.raises(KCircuitsError, match=r"must be finite and \[4, 6\].*; got \[6, 4\]"):
        roc(np.zeros((6, 4)), reference)
    with pytest.raises(KCircuitsError, match="must be finite"):
        roc(np.full((4, 6), np.nan), reference)
    other = circuit_of(GRAPH, "input->m0", model=identity_for(GRAPH, "other", "1" * 64))
    with pytest.raises(KCircuitsError, match="the circuit was found in the model 'other'"):
        roc(other, reference)
