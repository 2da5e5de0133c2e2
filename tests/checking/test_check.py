"""What is used and ignored of a model's files, and logits beside Transformers or another source."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import torch

from kcircuits.checking import check, check_model
from kcircuits.checking.comparison import Comparison, Difference, compare_logits
from kcircuits.errors import KCircuitsError
from tests.data.tiny_tokenizers import word_tokenizer
from tests.model.gguf.hf_to_gguf import write_model
from tests.models import build, llama, save, tiny_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KCIRCUITS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tiny_model("llama_rope_llama3"), tmp_path / "original")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_model(tiny_model("llama_rope_llama3"), tmp_path / "tiny.gguf")


@pytest.mark.parametrize("name", ["llama_rope_llama3", "gpt2", "gemma3", "gpt_oss", "falcon_new"])
def test_a_folder_beside_transformers(name, tmp_path):
    found = check_model(save(tiny_model(name), tmp_path / name))
    assert found.agrees and found.comparison is not None
    assert found.comparison.largest < 1e-4
    assert {one.num_tokens for one in found.comparison.differences} >= {8}
    assert found.kind == "Hugging Face folder"
    assert found.ignored["transformers_version"]


def test_a_file_beside_the_folder_that_it_was_made_of(file, folder):
    found = check_model(file, against=folder)
    assert found.agrees and found.comparison is not None and found.comparison.same_weights
    assert found.kind == "GGUF, 1 file, architecture llama, tensors of F32"
    assert "llama.rope.freq_base" in found.used
    assert found.ignored["GGUF.version"] == "sizes of the header itself"


def test_a_folder_beside_a_file(file, folder):
    assert check_model(folder, against=file).agrees


def test_a_file_that_says_something_else_is_found_out(folder, tmp_path):
    def change(keys: dict, tensors: dict) -> None:
        del tensors["rope_freqs.weight"]

    file = write_model(tiny_model("llama_rope_llama3"), tmp_path / "tiny.gguf", change=change)
    found = check_model(file, against=folder)
    assert not found.agrees and found.comparison is not None
    assert found.comparison.largest > 0.1
    alone = check_model(file)
    assert alone.agrees and alone.is_file_unchecked  # its own weights cannot show it
    assert not found.is_file_unchecked


def test_a_wrong_reader_is_found_out(folder, monkeypatch):
    def read_wrongly(source: Path) -> object:
        model = load_model(source)
        layers = tuple(
            replace(layer, attention=replace(layer.attention, rotary=None)) for layer in model.spec.layers
        )
        return replace(model, spec=replace(model.spec, layers=layers))

    load_model = check.load_model
    monkeypatch.setattr(check, "load_model", read_wrongly)
    assert not check_model(folder).agrees


def test_rounded_weights_are_reported_and_not_judged(tmp_path):
    original = build(lambda: llama(hidden_size=64, intermediate_size=64, head_dim=16))
    kind = gguf.GGMLQuantizationType.Q8_0
    file = write_model(original, tmp_path / "tiny.gguf", kind=kind)
    found = check_model(file, against=save(original, tmp_path / "original"))
    assert found.agrees and found.comparison is not None and not found.comparison.same_weights
    assert 1e-3 < found.comparison.largest < 3
    assert max(one.divergence for one in found.comparison.differences) > 0


def test_other_token_ids_are_found_out(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    word_tokenizer("The official language of France is").save_pretrained(folder)
    word_tokenizer("is France of language official The").save_pretrained(other)
    found = check_model(folder, against=other)
    assert not found.agrees and found.comparison is not None
    assert found.comparison.other_ids[0][0] == "The official language of France is"
    assert check_model(folder, against=folder).agrees


def test_two_models(folder, tmp_path):
    other = save(build(lambda: llama(num_hidden_layers=2)), tmp_path / "small")
    with pytest.raises(
        KCircuitsError, match="the models differ: the number of layers is 3 in original and 2 in small"
    ):
        check_model(folder, against=other)


def test_json(file):
    document = json.loads(json.dumps(check_model(file).to_json()))
    assert document["agrees"] is True
    assert document["sizes"]["num_heads"] == 4
    assert document["comparison"]["tolerance"] == 1e-3
    assert len(document["comparison"]["differences"]) == 2  # 8 and 64 random ids: it has no tokenizer


def test_the_same_prompts_every_time(folder):
    torch.manual_seed(1)
    first = check_model(folder)
    torch.manual_seed(2)
    assert check_model(folder) == first


def test_a_vocabulary_and_a_length_of_another_size(folder, tmp_path):
    other = save(build(lambda: llama(vocab_size=40, max_position_embeddings=16)), tmp_path / "other")
    found = check_model(folder, against=other)
    assert not found.agrees and found.comparison is not None
    assert max(one.num_tokens for one in found.comparison.differences) == 16


def test_what_is_no_number_is_no_agreement(folder):
    good = Difference(None, 8, 1e-5, 0.0, same_best=True)
    bad = replace(good, largest=math.nan)
    for differences in ((good, bad), (bad, good)):
        assert not Comparison("x", True, differences).agrees
        assert not Comparison("x", False, differences).agrees
    row = torch.tensor([0.0, math.nan])
    (one,) = compare_logits(lambda _: row, lambda _: torch.zeros(2), [(None, (1,))])
    assert one.largest == math.inf and not one.same_best


def test_too_little_memory(folder):
    with pytest.raises(KCircuitsError, match="a size"):
        check_model(folder, memory="much")
