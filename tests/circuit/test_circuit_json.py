"""circuit.json is refused, in one clear line, unless it is exactly what it should be."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.circuit import Circuit
from kcircuits.circuit.circuit_json import read, to_text
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from tests.circuits import circuit_of

DOCUMENT = {
    "format": "kcircuits/1",
    "model": {"name": "tiny", "num_layers": 1, "num_heads": 1, "num_kv_heads": 1},
    "method": "acdc",
    "settings": {},
    "metric": {"full": 0.5},
    "edges": [{"src": "input", "dst": "m0", "score": 1.5}],
    "nodes": ["input", "m0"],
    "stats": {},
}


def edge(**changes):
    return {"edges": [DOCUMENT["edges"][0], {"src": "m0", "dst": "logits", "score": 1} | changes]}


def error_of(path):
    with pytest.raises(KCircuitsError) as error:
        Circuit.load(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300
    return message


@pytest.fixture
def path(tmp_path):
    return tmp_path / "circuit.json"


def test_the_document_of_these_tests_is_good(path):
    path.write_text(json.dumps(DOCUMENT | edge()))
    assert [edge.score for edge in Circuit.load(path).edges] == [1.5, 1.0]


def test_text_is_one_line_per_edge():
    text = to_text(DOCUMENT | edge())
    assert json.loads(text) == DOCUMENT | edge()
    assert '\n{"src": "input", "dst": "m0", "score": 1.5},\n' in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"PK\x03\x04\xff", r"not a circuit: the file is a zip archive or a file of torch\.save"),
        (b"\x80\x04]\x94.", "not a circuit: the file is a Python pickle, which can run code and is never"),
        (b"\x1f\x8b\x08\x00", "the file is a gzip archive: unpack it first"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00{}", "the file is a safetensors file, as scores are"),
        (b"\xff\xfe{\x00}\x00", "the file is UTF-16 text: save it as UTF-8"),
        (b"{\xe9}", r"the file is not UTF-8 text \(invalid continuation byte at byte 1\)"),
        (b"[]", r"expected a JSON object, got \[\]"),
        (b"null", "expected a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": NaN}', "every number must be finite, got 'NaN'"),
        (b'{"format": -Infinity}', "every number must be finite"),
        (b'{"format": 1e999}', "every number must be finite, got '1e999'"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "not a circuit: "),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)
def test_not_a_document(path, content, message):
    path.write_bytes(content)
    with pytest.raises(KCircuitsError, match=message):
        Circuit.load(path)
    error_of(path)


@pytest.mark.parametrize("key", DOCUMENT)
def test_missing_key(path, key):
    path.write_text(json.dumps({name: value for name, value in DOCUMENT.items() if name != key}))
    assert f'"{key}"' in error_of(path).replace("'", '"')


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in DOCUMENT for value in (None, 7, True, [[]]) if (key, value) != ("nodes", [[]])],
)
def test_wrong_type(path, key, value):
    path.write_text(json.dumps(DOCUMENT | {key: value}))
    error_of(path)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("kcircuits/2", "newer kcircuits, and this one reads 'kcircuits/1': update"),
        ("kcircuits/10", "newer kcircuits"),
        ("kcircuits/0", "must be 'kcircuits/1', got 'kcircuits/0'"),
        ("kcircuits/1\n", "must be 'kcircuits/1'"),
        ("eap-ig/1", "must be 'kcircuits/1', got 'eap-ig/1'"),
        ("x" * 10_000, "must be 'kcircuits/1', got 'xxx"),
    ],
)
def test_formats(path, version, message):
    path.write_text(json.dumps(DOCUMENT | {"format": version}))
    assert message in error_of(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": ["input->m0"]}, "edge 0 must be an object"),
        ({"edges": [{"src": "input", "dst": "m0"}]}, "edge 0 must have the keys src, dst and score"),
        (
            edge(span=[0, 2]),
            "edge 1 must have the keys src, dst and score, got ['dst', 'score', 'span', 'src']",
        ),
        (edge(src=3), "edge 1: 'src' must be a name, got 3"),
        (edge(dst="m" * 10_000), "edge 1: 'dst' must be a name, got 'mmm"),
        (edge(score="1"), "edge 1: 'score' must be a number, got '1'"),
        (edge(score=True), "edge 1: 'score' must be a number, got True"),
        (edge(score=None), "edge 1: 'score' must be a number, got None"),
        (edge(score=10**400), "edge 1: 'score' must be a number, got 1000"),
        (edge(src="a0.h7"), "no sender 'a0.h7'"),
        (edge(dst="a0.h1<k>"), "no receiver 'a0.h1<k>'"),
        (edge(src="m0", dst="m0"), "no edge m0->m0"),
        (
            edge(src="input", dst="m0"),
            "the edge input->m0 occurs twice, with the scores 1.5 and 1: keep one",
        ),
        (edge(src="input", dst="m0", score=1.5), "the edge input->m0 occurs twice"),
        ({"metric": {"full": "low"}}, "metric 'full' must be a number, got 'low'"),
        ({"metric": {"full": None}}, "metric 'full' must be a number, got None"),
        ({"model": {}}, "the model's 'num_layers' must be"),
        ({"model": DOCUMENT["model"] | {"num_layers": 10**300}}, "the model's 'num_layers' must be"),
        ({"model": DOCUMENT["model"] | {"num_heads": 200_000}}, "more than 200,000 nodes"),
    ],
)
def test_bad_values(path, change, message):
    path.write_text(json.dumps(DOCUMENT | change))
    assert message in error_of(path)


def test_unknown_keys_of_the_document_are_left_alone(path):
    path.write_text(json.dumps(DOCUMENT | {"note": "from another program"}))
    assert Circuit.load(path).method == "acdc"


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_any_value_of_any_key_loads_or_fails_clearly(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "circuit.json"
    for key in DOCUMENT:
        path.write_text(json.dumps(DOCUMENT | {key: value}))
        try:
            Circuit.load(path)
        except KCircuitsError as error:
            assert str(error).startswith(str(path))


def test_places_that_are_no_files(tmp_path):
    assert "cannot read the circuit: No such file" in error_of(tmp_path / "missing.json")
    assert "not a file" in error_of(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in error_of(tmp_path / "pipe")


def test_settings_that_are_not_json(path):
    for value in ({1, 2}, path, float("nan")):
        with pytest.raises(KCircuitsError, match="'settings' cannot be written as JSON"):
            circuit_of(Graph(1, 1, 1), settings={"value": value}).save(path)
    assert not path.exists()


def test_read_gives_the_document(path):
    path.write_text(json.dumps(DOCUMENT))
    document, edges = read(path)
    assert document == {key: value for key, value in DOCUMENT.items() if key != "edges"}
    assert (edges.senders, edges.receivers, list(edges.scores)) == (["input"], ["m0"], [1.5])


@pytest.mark.parametrize("key", [*DOCUMENT, "score", "num_layers"])
def test_a_key_twice(path, key):
    """JSON's readers take the last one, which can be an empty list of edges."""
    text = json.dumps(DOCUMENT)
    at = text.index(f'"{key}"')
    path.write_text(f'{text[:at]}"{key}": [], {text[at:]}')
    assert f"the key {key!r} occurs twice" in error_of(path)


@pytest.mark.parametrize("model_first", [True, False])
def test_more_edges_than_the_graph(path, model_first):
    many = DOCUMENT | {"edges": DOCUMENT["edges"] * 9}  # the graph has 8
    keys = list(many) if model_first else list(reversed(many))
    path.write_text(json.dumps({key: many[key] for key in keys}))
    assert "more edges than its model's graph, 8" in error_of(path)


def test_a_file_too_large_for_its_model_is_not_read(path):
    with path.open("wb") as stream:
        stream.write(json.dumps(DOCUMENT).encode())
        stream.truncate(2**31)
    assert "too large for a circuit: 2,048 MiB, at most 64 MiB" in error_of(path)


def test_keys_in_any_order(path):
    good = DOCUMENT | edge()
    path.write_text(json.dumps({key: good[key] for key in reversed(good)}))
    backwards = Circuit.load(path)
    path.write_text("\ufeff" + json.dumps(good, indent=4).replace("\n", "\r\n"), encoding="utf-8")
    assert Circuit.load(path) == backwards


def test_what_kcircuits_convert_reads_is_said_so(path):
    for content in (
        "input->m0 1",
        '["input->m0"]',
        '{"cfg": {}, "nodes": {}, "edges": {}}',
        "src,dst\ninput,m0",
    ):
        path.write_text(content)
        assert "kcircuits convert turns lists of edges and EAP-IG graphs into a circuit.json" in error_of(
            path
        )
