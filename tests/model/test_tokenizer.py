"""A folder's tokenizer: the same ids, characters and text as Transformers', from the cache as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from kcircuits.errors import KCircuitsError
from kcircuits.model import tokenizer as tokenizer_module
from kcircuits.model.tokenizer import FastTokenizer, read_tokenizer
from tests.data.tiny_tokenizers import metaspace_tokenizer, word_tokenizer
from tests.model.editing import edit_json

WORDS = "The language of France is French ."


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("KCIRCUITS_CACHE", str(folder))
    return folder


def byte_level() -> PreTrainedTokenizerFast:
    """Every byte is a token, some pairs are merged, and there is a token that is not in any text."""
    vocab = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he")]
    vocab |= {"".join(pair): len(vocab) + index for index, pair in enumerate(merges)}
    backend = Tokenizer(models.BPE(vocab, merges))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<|end|>", special=True)])
    backend.enable_truncation(4)
    backend.enable_padding(length=9)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")


TOKENIZERS = {
    "words": lambda: word_tokenizer(WORDS),
    "words_bos_eos": lambda: word_tokenizer(WORDS, bos=True, eos=True),
    "pieces": lambda: metaspace_tokenizer(WORDS, bos=True),
    "bytes": byte_level,
}
TEXTS = ["", "The language of France is", " French", "<s> </s><|end|>", "the thé 你好 the\n\nthe " * 3]


@pytest.fixture(params=TOKENIZERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    TOKENIZERS[request.param]().save_pretrained(tmp_path / "folder")
    return tmp_path / "folder"


def theirs_of(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def assert_same(ours: Any, theirs: Any, text: str) -> None:
    for special in (False, True):
        expected = theirs(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
        got = ours(text, add_special_tokens=special, return_offsets_mapping=True)
        assert (
            got["input_ids"] == expected["input_ids"] == ours(text, add_special_tokens=special)["input_ids"]
        )
        assert got["offset_mapping"] == expected["offset_mapping"]
        assert ours.decode(got["input_ids"]) == theirs.decode(got["input_ids"])
        for token in got["input_ids"]:
            assert ours.decode([token]) == theirs.decode([token])
    assert ours.unk_token_id == theirs.unk_token_id
    assert ours.is_fast


@pytest.mark.parametrize("split", [False, True])
def test_the_same_as_transformers(folder, split):
    edit_json(folder / "tokenizer_config.json", split_special_tokens=split)
    first, theirs = read_tokenizer(folder), theirs_of(folder)
    second = read_tokenizer(folder)
    for ours in (first, second):
        assert isinstance(ours, FastTokenizer)
        for text in TEXTS:
            assert_same(ours, theirs, text)


OURS = {name: (FastTokenizer.from_json(FastTokenizer(make().backend_tokenizer, make().unk_token_id, False)
        .to_json()), make()) for name, make in TOKENIZERS.items()}  # fmt: skip


@given(st.sampled_from(sorted(OURS)), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text(name, text):
    assert_same(*OURS[name], text)


def test_the_second_time_transformers_reads_nothing(folder, monkeypatch):
    read_tokenizer(folder)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: pytest.fail("read again"))
    assert isinstance(read_tokenizer(folder), FastTokenizer)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "config.json", "merges.txt"])
def test_any_other_file_makes_another(file, folder, cache):
    read_tokenizer(folder)
    with (folder / file).open("a") as stream:
        stream.write("\n" if (folder / file).stat().st_size else "{}")
    read_tokenizer(folder)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[:-2],
        lambda content: content.replace(b"French", b"Frensh"),
        lambda content: content[1:],
        lambda content: b"\xff" + content,
    ],
)
def test_a_broken_cache_is_made_anew(change, cache, tmp_path):
    word_tokenizer(WORDS).save_pretrained(tmp_path / "folder")
    read_tokenizer(tmp_path / "folder")
    (file,) = cache.iterdir()
    good = file.read_bytes()
    file.write_bytes(change(good))
    again = read_tokenizer(tmp_path / "folder")
    assert again is not None
    assert again("France is")["input_ids"] == theirs_of(tmp_path / "folder")("France is")["input_ids"]
    assert file.read_bytes() == good


def test_other_code_makes_it_anew(folder, cache, monkeypatch):
    read_tokenizer(folder)
    (file,) = cache.iterdir()
    before = file.read_bytes()
    monkeypatch.setattr(tokenizer_module, "code_version", lambda: "other code")
    read_tokenizer(folder)
    assert list(cache.iterdir()) == [file]
    assert file.read_bytes() != before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tokenizer": "{}", "unk_token_id": 0}', "{", "[" * 9999])
def test_what_is_no_tokenizer(text):
    with pytest.raises(KCircuitsError):
        FastTokenizer.from_json(text)


class OfItsOwn(PreTrainedTokenizerFast):
    def _decode(self, *arguments: Any, **options: Any) -> str:
        return super()._decode(*arguments, **options).upper()


@pytest.mark.parametrize("change", ["class", "clean_up", "slow"])
def test_a_tokenizer_that_does_more_stays_as_it_is(change, tmp_path, cache, monkeypatch):
    made: Any = word_tokenizer(WORDS)
    if change == "class":
        made = OfItsOwn(tokenizer_object=made.backend_tokenizer, unk_token="<unk>")
    elif change == "clean_up":
        made.clean_up_tokenization_spaces = True
    else:
        made = object()
    word_tokenizer(WORDS).save_pretrained(tmp_path / "folder")
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: made)
    assert read_tokenizer(tmp_path / "folder") is made
    assert not cache.exists()


def test_a_folder_without(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert read_tokenizer(tmp_path) is None


@pytest.mark.slow
def test_the_demo_s():
    from kcircuits.model.gguf.conversion import convert, demo_file

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KCIRCUITS_CACHE")
        folder = convert(demo_file())
    ours, theirs = read_tokenizer(folder), theirs_of(folder)
    assert isinstance(ours, FastTokenizer)
    for text in [
        *TEXTS,
        "The official language of France is",
        "<|im_start|>user\nHi",
        "x = 12345;\t  y",
        "🙂é",
    ]:
        assert_same(ours, theirs, text)
    for token in range(0, 49152, 7):
        assert ours.decode([token]) == theirs.decode([token])
