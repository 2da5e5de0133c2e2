"""From a model's identity to its graph."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from hypothesis import given

from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph, LayerShape
from kcircuits.graph.identity import check_same_weights, graph_fields, graph_of, model_label
from tests.circuits import all_graphs

SIZES = {"num_layers": 2, "num_heads": 4, "num_kv_heads": 2}


def test_graph_of():
    assert graph_of(SIZES) == Graph(2, 4, 2)
    assert graph_of(SIZES | {"parallel": True, "width": 64}) == Graph(2, 4, 2, parallel=True)


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", [None, 0, -1, True, 2.0, "2", 10**9, [2]])
def test_sizes_that_make_no_sense(key, value):
    with pytest.raises(KCircuitsError, match=f"the model's '{key}' must be a whole number"):
        graph_of(SIZES | {key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_kv_heads": 3}, "multiple of num_kv_heads"),
        ({"num_heads": 2, "num_kv_heads": 4}, "multiple of num_kv_heads"),
        ({"num_layers": 100_000}, "more than 200,000 nodes"),
        ({"num_layers": 10_000}, "more edges than any model has"),
        ({"parallel": 1}, "'parallel' must be true or false, got 1"),
        ({"parallel": None}, "'parallel' must be true or false, got None"),
    ],
)
def test_graphs_that_make_no_sense(change, message):
    with pytest.raises(KCircuitsError, match=message):
        graph_of(SIZES | change)


def test_called():
    assert (
        model_label({"name": "base", "weights_hash": "0123456789abcdef"}) == "'base' (weights 0123456789ab)"
    )
    assert model_label({}) == "'without a name' (weights unknown)"


class TestSameModel:
    BASE: ClassVar = {"name": "base", "weights_hash": "a", "configuration": "c"}

    def test_another_configuration_of_the_same_weights(self):
        with pytest.raises(KCircuitsError, match="with another configuration than this one has"):
            check_same_weights("the circuit was", self.BASE, self.BASE | {"configuration": "d"})

    def test_files_of_older_versions_do_not_say_their_configuration(self):
        old = {"name": "base", "weights_hash": "a"}
        check_same_weights("the circuit was", old, self.BASE)
        check_same_weights("the circuit was", self.BASE, self.BASE | {"name": "renamed"})

    def test_other_weights(self):
        with pytest.raises(KCircuitsError, match="use the model that it was found in"):
            check_same_weights("the circuit was", self.BASE, self.BASE | {"weights_hash": "b"})


@given(all_graphs())
def test_fields_of_a_graph_are_read_back(graph):
    fields = json.loads(json.dumps(graph_fields(graph)))
    assert graph_of(fields) == graph
    assert ("layer_shapes" in fields) == (not graph.is_regular)


UNEVEN = graph_fields(Graph.of_layers([LayerShape(4, 2), LayerShape(2, 1, has_mlp=False)]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_shapes": {}}, "'layer_shapes' must be a list of layers"),
        ({"layer_shapes": UNEVEN["layer_shapes"][:1]}, "do not match the graph's sizes"),
        ({"num_heads": 8}, "do not match the graph's sizes"),
        (
            {"layer_shapes": [[4, 2, True], [2, 1, False]]},
            "has the keys num_heads, num_kv_heads and mlp",
        ),
        ({"layer_shapes": [UNEVEN["layer_shapes"][0] | {"num_heads": -4}]}, "whole numbers from 0 on"),
        ({"layer_shapes": [UNEVEN["layer_shapes"][0] | {"num_heads": True}]}, "whole numbers from 0 on"),
        ({"layer_shapes": [UNEVEN["layer_shapes"][0] | {"num_heads": 3}]}, "multiple of num_kv_heads"),
        ({"layer_shapes": [UNEVEN["layer_shapes"][0] | {"mlp": 1}]}, "'mlp' .* must be true or false, got 1"),
    ],
)
def test_layer_shapes_that_make_no_sense(change, message):
    assert not graph_of(UNEVEN).is_regular
    with pytest.raises(KCircuitsError, match=message):
        graph_of(UNEVEN | change)
