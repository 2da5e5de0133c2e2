"""Whether a composed question's circuit contains those of its parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.analysis.comparison.two_hop import Containment, TwoHop, measure_containment, two_hop
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from tests.circuits import all_graphs, circuit_of, circuit_of_mask, masks

TINY = Graph(num_layers=2, num_heads=2, num_kv_heads=1)
FIRST = circuit_of(TINY, "input->m0", "m0->logits")
SECOND = circuit_of(TINY, "input->a1.h0<v>", "a1.h0->logits")
WHOLE = circuit_of(TINY, "input->m0", "m0->a1.h0<v>", "a1.h0->logits")
CIRCUITS = {"first": FIRST, "second": SECOND, "whole": WHOLE, "empty": circuit_of(TINY)}


def test_shares():
    made = two_hop(("first", "second"), "whole", CIRCUITS, random_circuits=20, seed=3)
    assert made.of_parts == (Containment(1.0, 0.5), Containment(1.0, 0.5))
    assert made.of_both == Containment(1.0, 0.5)
    assert len(made.random) == 20
    same = two_hop(("first", "second"), "whole", CIRCUITS, random_circuits=19, seed=4)
    assert same.random == made.random[1:]
    document = made.to_json()
    assert document["of_parts"] == [{"nodes": 1.0, "edges": 0.5}] * 2
    assert document["p_value"] == {"nodes": made.p_value("nodes"), "edges": made.p_value("edges")}


def test_p_values_count_random_circuits_that_are_as_good():
    random = tuple(Containment(share, 0.5) for share in (0.1, 0.5, 0.6))
    made = TwoHop(("a", "b"), "c", (Containment(1, 1), Containment(1, 1)), Containment(0.5, 0.6), random)
    assert (made.p_value("nodes"), made.p_value("edges")) == (3 / 4, 1 / 4)
    assert two_hop(("first", "second"), "whole", CIRCUITS, random_circuits=0, seed=0).p_value("nodes") is None


@given(st.data())
def test_a_circuit_contains_itself_and_a_part_of_it(data):
    graph = data.draw(all_graphs())
    whole = data.draw(masks(graph))
    part = whole & data.draw(masks(graph))
    if part.any():
        assert measure_containment(graph, part, part) == Containment(1.0, 1.0)
        assert measure_containment(graph, part, whole).edges == 1.0
        assert measure_containment(graph, whole, part).edges == pytest.approx(part.sum() / whole.sum())


@given(st.data())
def test_shares_of_nodes_are_of_the_circuits_nodes(data):
    graph = data.draw(all_graphs())
    first, second = data.draw(masks(graph)), data.draw(masks(graph))
    rng = np.random.default_rng(0)
    one, other = (set(circuit_of_mask(graph, mask, rng).nodes) for mask in (first, second))
    if one:
        assert measure_containment(graph, first, second).nodes == pytest.approx(len(one & other) / len(one))


@pytest.mark.parametrize(
    ("parts", "whole", "message"),
    [
        (("first", "third"), "whole", "no circuit 'third'; the circuits are 'first', 'second'"),
        (("first", "first"), "whole", "two hops need three different circuits, got first, first, whole"),
        (("first", "second"), "first", "three different circuits"),
        (("first", "empty"), "whole", "the circuit 'empty' has no edges"),
    ],
)
def test_bad_input(parts, whole, message):
    with pytest.raises(KCircuitsError, match=message):
        two_hop(parts, whole, CIRCUITS, random_circuits=1, seed=0)
