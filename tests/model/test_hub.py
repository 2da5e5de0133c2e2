"""Models by name, from a cache laid out as huggingface_hub lays it out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.model.hub import hub_name, name_of_folder
from kcircuits.model.loading import load_model

COMMIT = "a39f36b100fe8a5377810d56c3f4789b9c53ac42"


@pytest.fixture
def cache(tiny_folder, tmp_path, monkeypatch) -> Path:
    """A cache with the model "someone/tiny", and a branch "step3" of the same commit."""
    repository = tmp_path / "hub" / "models--someone--tiny"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / COMMIT
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(tiny_folder("llama_gqa").iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(blobs / str(number))
    for branch in ("main", "step3"):
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / branch).write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("name", ["someone/tiny", "someone/tiny@step3", f"someone/tiny@{COMMIT}"])
def test_a_model_in_the_cache(name, cache, tiny_folder):
    model = load_model(name)
    assert model.identity == load_model(tiny_folder("llama_gqa")).identity | {"name": "someone/tiny"}


def test_a_snapshot_is_called_by_its_model(cache):
    snapshot = cache / "models--someone--tiny" / "snapshots" / COMMIT
    assert load_model(snapshot).identity["name"] == "someone/tiny"
    assert name_of_folder(snapshot / "onnx") == "onnx"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("gpt2", "hf download gpt2"),
        ("someone/other", "hf download someone/other"),
        ("someone/tiny@step4", "hf download someone/tiny --revision step4"),
    ],
)
def test_a_model_that_the_cache_lacks(name, command, cache):
    with pytest.raises(KCircuitsError, match=f"Get it with: {command}. Or give") as caught:
        load_model(name)
    assert str(cache) in str(caught.value)


def test_a_name_that_no_model_can_have(cache):
    with pytest.raises(KCircuitsError, match="'a--b' is neither a path nor a model name"):
        load_model("a--b")


@pytest.mark.parametrize(
    "path", ["./gpt2", "/models/gpt2", "../gpt2", "models/org/gpt2", "gpt2.gguf", "gpt 2", ""]
)
def test_a_path_is_no_name(path):
    assert hub_name(path) is None


def test_a_folder_comes_before_a_name(cache, folder, monkeypatch):
    """A folder of that name in the present directory is meant."""
    monkeypatch.chdir(folder.parent)
    assert hub_name(folder.name) is None
    assert load_model(folder.name).identity["name"] == "tiny"
