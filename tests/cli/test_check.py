"""`kcircuits check`: what it prints, and its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.gguf.hf_to_gguf import write_model
from tests.models import save, tiny_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KCIRCUITS_CACHE", str(tmp_path / "cache"))


def test_a_good_folder(kcircuits, worded):
    done = kcircuits("check", worded)
    assert (done.status, done.err) == (0, "")
    for text in ("source    Hugging Face folder", "llama: 3 layers, 4 heads", "ignored ", "same best token"):
        assert text in done.out
    assert done.out.endswith("Log-probabilities agree within 0.001.\n")


def test_json(kcircuits, worded):
    document = kcircuits("check", worded, "--json").json
    assert document["agrees"] is True and document["comparison"]["same_weights"] is True


def test_a_difference_is_exit_1(kcircuits, tmp_path):
    def change(keys: dict, tensors: dict) -> None:
        del tensors["rope_freqs.weight"]

    model = tiny_model("llama_rope_llama3")
    file = write_model(model, tmp_path / "tiny.gguf", change=change)
    done = kcircuits("check", file, "--against", save(model, tmp_path / "original"))
    assert done.status == 1
    assert "cannot be trusted" in done.out


@pytest.mark.parametrize("against", [[], ["--against", "nowhere"]])
def test_bad_input(kcircuits, worded, tmp_path, against):
    done = kcircuits("check", *([worded, *against] if against else ["nowhere"]))
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("kcircuits: model 'nowhere' does not exist")
