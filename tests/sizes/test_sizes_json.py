"""sizes.json is read back as it was written, and refused in one clear line unless it is what it should be."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.errors import KCircuitsError
from kcircuits.sizes import MethodCurve, Point, SizeComparison

MODEL = {"name": "tiny", "num_layers": 1, "num_heads": 1, "num_kv_heads": 1}
CURVES = (
    MethodCurve("eap", (Point(2, 0.5), Point(4, 0.75)), 0.1, 0.5, 0.25, {"qk_fix": True}),
    MethodCurve("acdc", (Point(3, 0.7, threshold=0.01),), 2.5, None, None),
    MethodCurve("random", (Point(2, 0.0, (-0.1, 0.2)),), None, None, None),
)
COMPARISON = SizeComparison(MODEL, {"ablation": "zero"}, 1.5, 4.0, CURVES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sizes.json"


def test_round_trip(path):
    COMPARISON.save(path)
    assert SizeComparison.load(path) == COMPARISON
    document = json.loads(path.read_text())
    total = COMPARISON.num_graph_edges
    assert [point["fraction"] for point in document["methods"][0]["points"]] == [2 / total, 4 / total]


def test_a_real_comparison(path, comparison):
    comparison.save(path)
    assert SizeComparison.load(path) == comparison


def test_files_without_the_methods_options_are_read(path):
    document = COMPARISON.to_json()
    del document["methods"][0]["settings"]
    assert ["settings" in method for method in document["methods"]] == [False, False, False]
    assert [curve.settings for curve in SizeComparison.from_json(document).curves] == [{}, {}, {}]


def changed(keys, value):
    document = copy.deepcopy(COMPARISON.to_json())
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return document


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["format"], "kcircuits-sizes/2", "newer kcircuits"),
        (["format"], "kcircuits/1", "not a comparison of sizes"),
        (["model"], [], "'model' must be an object"),
        (["model"], {}, "the model's 'num_layers' must be"),
        (["settings"], None, "'settings' must be an object"),
        (["metric"], {"full": 1}, "metric: the key 'empty' is missing"),
        (["metric", "full"], True, "metric: 'full' must be a number, got True"),
        (["methods"], {}, "'methods' must be a list"),
        (["methods"], [{}] * 101, "'methods' must be a list of at most 100"),
        (["methods", 1], "acdc", "method 1 must be an object"),
        (["methods", 1, "name"], "", "method 1: 'name' must be a name"),
        (["methods", 1, "name"], "x" * 61, "method 1: 'name' must be a name"),
        (["methods", 0, "seconds"], "fast", "method 0: 'seconds' must be a number or null"),
        (["methods", 0, "settings"], [], "method 0: 'settings' must be an object"),
        (["methods", 0, "points", 1, "num_edges"], 1.5, "method 0, point 1: 'num_edges' must be a whole"),
        (["methods", 0, "points", 1, "num_edges"], 10**9, "'eap' has a circuit of 1,000,000,000 edges"),
        (["methods", 0, "points", 1, "faithfulness"], None, "'faithfulness' must be a number, got None"),
        (["methods", 0, "points", 1, "spread"], [2, 1], "'spread' must be a list of two rising numbers"),
        (["methods", 0, "points", 1, "threshold"], "0.1", "'threshold' must be a number or null"),
    ],
)
def test_bad_values(path, keys, value, message):
    path.write_text(json.dumps(changed(keys, value)))
    with pytest.raises(KCircuitsError) as error:
        SizeComparison.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"format": NaN}'])
def test_not_a_document(path, content):
    path.write_bytes(content)
    with pytest.raises(KCircuitsError, match=r"sizes\.json: "):
        SizeComparison.load(path)


def test_places_that_are_no_files(tmp_path):
    for place in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(KCircuitsError):
            SizeComparison.load(place)


def test_settings_that_are_not_json(path):
    with pytest.raises(KCircuitsError, match="cannot be written as JSON"):
        SizeComparison(MODEL, {"ablation": {1}}, 1.0, 2.0, ()).save(path)
    assert not path.exists()


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_any_value_of_any_key_loads_or_fails_clearly(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "sizes.json"
    for key in COMPARISON.to_json():
        path.write_text(json.dumps(COMPARISON.to_json() | {key: value}))
        try:
            SizeComparison.load(path)
        except KCircuitsError as error:
            assert str(error).startswith(str(path))
