"""Score matrices: invariants, sums, and the file they live in."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from kcircuits.circuit import Circuit
from kcircuits.errors import KCircuitsError
from kcircuits.graph import Graph
from kcircuits.scores import Scores
from tests.circuits import all_graphs, identity_for, masks, scores_for

TINY = Graph(num_layers=2, num_heads=4, num_kv_heads=2)


@st.composite
def all_scores(draw: st.DrawFn) -> Scores:
    graph = draw(all_graphs())
    return scores_for(graph, np.random.default_rng(draw(st.integers(0, 1000))))


@pytest.fixture
def scores() -> Scores:
    return scores_for(TINY, np.random.default_rng(0))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores.safetensors"


def test_the_matrix_is_a_read_only_copy(scores):
    given = scores.matrix.astype(np.float64)
    kept = replace(scores, matrix=given).matrix
    given[:] = 7
    assert (kept == scores.matrix).all()
    assert kept.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        kept[0, 0] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.T, r"float array \[11, 19\] for Graph.*, got float32 \[19, 11\]"),
        (lambda m: m.astype(np.int64), "got int64"),
        (lambda m: m.tolist(), r"float array .*, got \[\["),
        (lambda m: np.where(m == m[0, 3], np.nan, m), r"1 are not; the first is input->a0\.h3<q>"),
        (lambda m: np.where(m == m[0, 3], np.float64(1e300), m), r"1 are not; the first is input->a0\.h3<q>"),
        (lambda m: m + ~TINY.valid, r"a score for a0\.h0->a0\.h0<q>, which is not an edge"),
    ],
)
def test_impossible_matrices(scores, change, message):
    with pytest.raises(KCircuitsError, match=message):
        replace(scores, matrix=change(scores.matrix))


def test_model_with_another_graph(scores):
    with pytest.raises(KCircuitsError, match=r"the model's graph is .*num_layers=3.*num_layers=2"):
        replace(scores, model=identity_for(Graph(3, 4, 2)))


@given(all_scores())
def test_sums(scores):
    graph, by_name = scores.graph, {}
    for edge in scores.edges(graph.valid):
        for name in {edge.sender, "to " + edge.receiver}:
            by_name.setdefault(name, []).append(edge.score)
    total = {name: sum(values) for name, values in by_name.items()}
    np.testing.assert_allclose(scores.of_senders(), [total[name] for name in graph.senders], atol=1e-5)
    np.testing.assert_allclose(
        scores.of_receivers(), [total["to " + name] for name in graph.receivers], atol=1e-5
    )
    heads = scores.of_heads()
    assert heads.shape == (graph.num_layers, graph.num_heads)
    for layer, head in np.ndindex(heads.shape):
        name = f"a{layer}.h{head}"
        there = head < graph.layers[layer].num_heads
        assert heads[layer, head] == (scores.of_senders()[graph.sender_index(name)] if there else 0)


@given(st.data())
def test_edges_of_a_mask_make_a_circuit(data):
    scores = data.draw(all_scores())
    mask = data.draw(masks(scores.graph))
    edges = scores.edges(mask)
    circuit = Circuit(scores.graph, scores.model, scores.method, scores.settings, {}, edges, {})
    assert circuit.edges == edges
    assert (circuit.mask() == mask).all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (TINY.valid.T, r"a mask must be bool \[11, 19\], got bool \[19, 11\]"),
        (TINY.valid * 1.0, "got float64"),
        (~TINY.valid, r"the mask has a0\.h0->a0\.h0<q>, which is not an edge"),
    ],
)
def test_edges_of_something_else(scores, mask, message):
    with pytest.raises(KCircuitsError, match=message):
        scores.edges(mask)


def test_pandas(scores):
    table = scores.table()
    assert len(table) == TINY.num_edges
    row = table[(table.sender == "a0.h1") & (table.receiver == "a1.h0<v>")].iloc[0]
    assert row.score == scores.matrix[TINY.sender_index("a0.h1"), TINY.receiver_index("a1.h0<v>")]


def test_check_model(scores):
    scores.check_model(identity_for(TINY, "another name"))
    with pytest.raises(KCircuitsError, match=r"the scores were found in the model 'tiny' .* this is 'other'"):
        scores.check_model(identity_for(TINY, "other", "b" * 64))


@given(all_scores())
def test_save_and_load(tmp_path_factory, scores):
    path = tmp_path_factory.mktemp("scores") / "scores.safetensors"
    scores.save(path)
    loaded = Scores.load(path)
    assert (loaded.matrix == scores.matrix).all()
    for name in ("graph", "model", "method", "settings"):
        assert getattr(loaded, name) == getattr(scores, name)


def test_the_file(scores, path):
    scores.save(path)
    with safe_open(path, framework="np") as file:
        assert (file.get_tensor("scores") == scores.matrix).all()
        metadata = file.metadata()
    assert metadata.pop("format") == "kcircuits-scores/1"
    assert {key: json.loads(value) for key, value in metadata.items()} == {
        "senders": list(TINY.senders),
        "receivers": list(TINY.receivers),
        "model": scores.model,
        "method": "eap",
        "settings": scores.settings,
    }


def test_settings_that_are_not_json(scores, path):
    with pytest.raises(KCircuitsError, match="'settings' cannot be written as JSON"):
        replace(scores, settings={"path": path}).save(path)
    assert not path.exists()


def error_of(path) -> str:
    with pytest.raises(KCircuitsError) as error:
        Scores.load(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300
    return message


def metadata_of(scores: Scores, **changes: object) -> dict[str, str]:
    """What `save` writes, with values changed; None leaves a key out."""
    values = {
        "senders": list(TINY.senders),
        "receivers": list(TINY.receivers),
        "model": scores.model,
        "method": "eap",
        "settings": {},
    }
    kept = {key: value for key, value in (values | changes).items() if value is not None}
    return {"format": "kcircuits-scores/1"} | {
        key: value if key == "format" else json.dumps(value) for key, value in kept.items()
    }


SWAPPED = [*TINY.senders[:1], *TINY.senders[:0:-1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "kcircuits-scores/2"}, "by a newer kcircuits"),
        ({"format": "pt"}, "\"format\" must be 'kcircuits-scores/1', got 'pt'"),
        *(({key: None}, f"the metadata '{key}' is missing") for key in ("senders", "model", "method")),
        ({"senders": SWAPPED}, "senders[1] is 'm1', but 'a0.h0' in the model's graph"),
        ({"receivers": ["logits"]}, "1 receivers, but the model's graph has 19"),
        ({"senders": [[]] * 11}, "senders[0] is [], but"),
        ({"senders": {"input": 0}}, "'senders' must be a list"),
        ({"model": {}}, "the model's 'num_layers' must be"),
        ({"model": "gpt2"}, "'model' must be an object, got 'gpt2'"),
        ({"method": 3}, "'method' must be a string, got 3"),
        ({"settings": float("nan")}, "every number must be finite"),
    ],
)
def test_bad_metadata(scores, path, changes, message):
    save_file({"scores": np.array(scores.matrix)}, path, metadata=metadata_of(scores, **changes))
    assert message in error_of(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {"weights": m}, "expected one tensor 'scores', got ['weights']"),
        (lambda m: {"scores": m, "more": m}, "expected one tensor 'scores', got ['more', 'scores']"),
        (lambda m: {"scores": m[1:]}, "must be F32 [11, 19], got F32 [10, 19]"),
        (lambda m: {"scores": m.astype(np.float16)}, "must be F32 [11, 19], got F16 [11, 19]"),
        (lambda m: {"scores": np.full_like(m, np.nan)}, "scores must be finite"),
        (lambda m: {"scores": np.ones_like(m)}, "which is not an edge"),
    ],
)
def test_bad_tensors(scores, path, change, message):
    save_file(change(np.array(scores.matrix)), path, metadata=metadata_of(scores))
    assert message in error_of(path)


def test_files_that_are_none(scores, path, tmp_path):
    assert "cannot read the file of scores" in error_of(path)
    assert "not a file" in error_of(tmp_path)
    for content in (b"", b"{}", b"PK\x03\x04" * 100, b"\xff" * 100):
        path.write_bytes(content)
        assert "not a safetensors file" in error_of(path)
    save_file({"scores": np.array(scores.matrix)}, path)
    assert '"format" must be' in error_of(path)
    scores.save(path)
    path.write_bytes(path.read_bytes()[:-4])
    assert "not a safetensors file" in error_of(path)
