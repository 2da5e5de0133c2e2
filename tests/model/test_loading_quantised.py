"""Models that are loaded with matrices of few bits: rounded, or a GGUF file's own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kcircuits.errors import KCircuitsError
from kcircuits.model.devices import tensors_of
from kcircuits.model.forward import forward
from kcircuits.model.gguf import conversion as gguf
from kcircuits.model.gguf.sources import Sizes, rearrange, source
from kcircuits.model.gguf.stored import StoredWeights
from kcircuits.model.loading import load_model
from kcircuits.model.quantised import QuantisedWeight, dense
from tests.model.editing import edit_weights
from tests.model.gguf.tiny_gguf import TOKENS, write_gguf
from tests.models import build, llama, quantised_spec, random_prompts, save, tiny_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("KCIRCUITS_CACHE", str(folder))
    return folder


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def file(request, tmp_path) -> Path:
    """Q8_0, but the vocabulary in float32; grouped queries, whose rows the file has in another order."""
    sizes = {"num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": len(TOKENS), "eos_token_id": 1}
    model = build(partial(llama, tie_word_embeddings=request.param, intermediate_size=64, **sizes))
    return write_gguf(model, tmp_path / "tiny.gguf", quantise=True)


class TestRounded:
    @pytest.mark.parametrize("bits", [8, 4])
    @pytest.mark.parametrize("name", ["gpt2", "llama_tied", "falcon_new", "mixtral"])
    def test_the_model_is_the_rounded_one(self, name, bits, tiny_folder):
        model, expected = load_model(tiny_folder(name), dtype=f"q{bits}"), quantised_spec(name, bits)
        prompts = random_prompts([4, 3])
        torch.testing.assert_close(forward(model.spec, *prompts), forward(expected, *prompts))
        assert model.identity == load_model(tiny_folder(name)).identity

    def test_narrow_files_leave_nothing_narrow(self, tmp_path):
        folder = save(tiny_model("llama_biases"), tmp_path / "narrow")
        edit_weights(folder, lambda weights: weights.update({n: w.bfloat16() for n, w in weights.items()}))
        spec = load_model(folder, dtype="q8").spec
        assert {part.dtype for part in tensors_of(spec)} == {torch.int8, torch.float16, torch.float32}
        wide = load_model(folder).spec
        prompts = random_prompts([4, 3])
        assert (forward(spec, *prompts) - forward(wide, *prompts)).abs().max() < 0.5

    def test_tied_vocabularies_stay_one(self, tiny_folder):
        spec = load_model(tiny_folder("llama_tied"), dtype="q4").spec
        assert spec.embedding is spec.unembedding

    def test_nothing_of_the_file_is_kept_in_memory(self, tiny_folder):
        spec = load_model(tiny_folder("llama"), dtype="q4").spec
        assert all(part.untyped_storage().nbytes() == part.nbytes for part in tensors_of(spec))


class TestStored:
    def test_the_model_is_the_dequantised_one(self, file):
        model, expected = load_model(file, dtype="stored"), load_model(file)
        prompts = random_prompts([4, 7], vocabulary=len(TOKENS))
        assert torch.equal(forward(model.spec, *prompts), forward(expected.spec, *prompts))
        assert model.identity == expected.identity
        assert model.tokenizer("the hat")["input_ids"] == expected.tokenizer("the hat")["input_ids"]
        assert isinstance(model.spec.layers[1].attention.w_k, QuantisedWeight)
        assert model.spec.layers[1].attention.w_k.codes.dtype == torch.int8

    def test_the_file_is_never_dequantised_into_the_cache(self, file, cache):
        load_model(file, dtype="stored")
        (folder,) = cache.glob("gguf-*")
        assert not list(cache.rglob("*.safetensors"))
        load_model(file)
        assert gguf.describe(file) == gguf.convert(file) != folder

    def test_a_folder_has_no_bits_of_its_own(self, tiny_folder):
        with pytest.raises(KCircuitsError, match=r"needs a \.gguf file, and '.*' is not one; give"):
            load_model(tiny_folder("llama"), dtype="stored")

    def test_a_type_that_cannot_be_kept(self, file, monkeypatch):
        monkeypatch.setattr("kcircuits.model.gguf.blocks._READERS", {})
        with pytest.raises(KCircuitsError, match=r"of the type Q8_0 cannot be kept as stored; known: F32"):
            load_model(file, dtype="stored")

    def test_a_truncated_file(self, file, tmp_path):
        (tmp_path / "x.gguf").write_bytes(file.read_bytes()[:-50])
        with pytest.raises(KCircuitsError, match=r"x\.gguf is not a whole GGUF file"):
            load_model(tmp_path / "x.gguf", dtype="stored")


class TestMarkers:
    """Matrices of a specification are told by markers: a family may take rows in any way."""

    VALUES = torch.arange(48.0).view(6, 8)
    DESCRIPTION: Any = SimpleNamespace(
        shapes={"a": (6, 8), "b": (8, 6)},
        make_parameter=lambda name, found, parts, flat: rearrange(
            found, Sizes(1, 1, 1), parts, {"a": (6, 8), "b": (8, 6)}[name], flat
        ),
    )
    WEIGHTS = StoredWeights(
        DESCRIPTION,
        {"A.weight": VALUES, "B.weight": -VALUES},
        {"a": (source("A"), ("A.weight",)), "b": (source("B", turned=True), ("B.weight",))},
        {"bias": torch.ones(3)},
    )

    def test_the_mapping_has_what_hugging_face_would(self):
        assert sorted(self.WEIGHTS) == ["a", "b", "bias"]
        assert len(self.WEIGHTS) == 3
        assert torch.equal(self.WEIGHTS["b"], -self.VALUES.t())

    @pytest.mark.parametrize("rows", [slice(None), slice(2, 5), torch.tensor([5, 0, 3])], ids=str)
    def test_rows(self, rows):
        state = self.WEIGHTS.markers()
        assert state["a"].untyped_storage().nbytes() == 6 * 8
        assert torch.equal(dense(self.WEIGHTS.matrix_of(state["a"][rows])), self.VALUES[rows])
        assert torch.equal(dense(self.WEIGHTS.matrix_of(state["b"].t()[rows])), -self.VALUES[rows])

    @pytest.mark.parametrize(
        "take",
        [
            lambda state: state["a"][:, 2:],
            lambda state: state["b"],
            lambda state: torch.cat([state["a"], state["b"].t()]),
        ],
        ids=["columns", "turned", "two matrices"],
    )
    def test_anything_else_is_refused(self, take):
        with pytest.raises(KCircuitsError, match="this family does not use whole rows of"):
            self.WEIGHTS.matrix_of(take(self.WEIGHTS.markers()))


@pytest.mark.parametrize("dtype", ["q5", "float32", torch.int8, None])
def test_other_types(dtype, tiny_folder):
    with pytest.raises(KCircuitsError, match=r"dtype must be one of torch\.float32, .*, q8, q4, stored; got"):
        load_model(tiny_folder("llama"), dtype=dtype)
