"""Vocabularies with ids that would make tables of gigabytes are refused before anything is made of them."""

from __future__ import annotations

import json
import resource

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import load_model
from kcircuits.model.tokenizer_ids import MOST_LEFT_OUT, check_ids
from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import save, tiny_model


@pytest.fixture
def folder(tmp_path):
    model = save(tiny_model("llama_gqa"), tmp_path / "model")
    word_tokenizer("In they speak").save_pretrained(model)
    return model


def with_id(folder, token, number):
    document = json.loads((folder / "tokenizer.json").read_text())
    document["model"]["vocab"][token] = number
    (folder / "tokenizer.json").write_text(json.dumps(document))


def test_an_id_far_beyond_the_vocabulary(folder):
    with_id(folder, "they", 4_000_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(KCircuitsError) as error:
        load_model(folder)
    assert str(error.value) == (
        "tokenizer.json: the token 'they' has the id 4000000000, but the vocabulary has 6 tokens"
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024  # KiB


@pytest.mark.parametrize("file", ["vocab.json", "added_tokens.json"])
def test_other_files(tmp_path, file):
    (tmp_path / file).write_text(json.dumps({"a": 0, "b": MOST_LEFT_OUT + 2}))
    with pytest.raises(KCircuitsError, match=f"{file}: the token 'b' has the id"):
        check_ids(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "null", '{"model": 3}', '{"model": {"vocab": [["a", 1.5]]}}', "[" * 10**5, "\\"],
)
def test_files_that_are_none_are_left_to_the_libraries(tmp_path, content):
    for file in ("tokenizer.json", "vocab.json"):
        (tmp_path / file).write_text(content)
    check_ids(tmp_path)


def test_ids_may_be_left_out(folder):
    with_id(folder, "they", 50)
    assert load_model(folder).tokenizer is not None
