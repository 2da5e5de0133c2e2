"""The rules of `tokenizer.ggml.pre`: pieces by hand, and ids by llama.cpp."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest
from tokenizers import Regex, pre_tokenizers

from kcircuits.errors import KCircuitsError
from kcircuits.model.gguf import pretokenizers
from kcircuits.model.gguf.pretokenizers import PRE_TOKENIZERS, find_pre_tokenizer
from kcircuits.model.gguf.tokenizer import read_gguf_tokenizer
from tests.model.gguf import llama_cpp
from tests.model.gguf.awkward import TEXTS, random_texts
from tests.model.gguf.vocabularies import (
    BYTES,
    Header,
    byte_level,
    take_from,
    trained,
    write_header,
)

NAMES = list({rule: name for name, rule in reversed(PRE_TOKENIZERS.items())}.values())
"""One name of every rule."""


def pieces(name: str, text: str) -> list[str]:
    rule = find_pre_tokenizer(name)
    steps = [pre_tokenizers.Split(Regex(split), "isolated") for split in rule.splits]
    return [piece for piece, _ in pre_tokenizers.Sequence(steps).pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gpt-2", "I'm it'S  12½a", "I|'m| it|'|S| | 12½|a"),
        ("gpt-2", "a \n b ", "a| \n| b| "),
        ("smollm", "x 12½ Ⅳ", "x| |1|2|½| |Ⅳ"),
        ("llama-bpe", "I'm it'S 1234½", "I|'m| it|'S| |123|4½"),
        ("llama-bpe", "(a)\n\n  b", "(a|)\n\n| | b"),
        ("qwen2", "it'S 123\u0e01\u0e33", "it|'S| |1|2|3|\u0e01\u0e33"),
        ("qwen2", "e\u0301a", "e|\u0301a"),
        ("qwen35", "e\u0301a", "e\u0301a"),
        ("default", "a+b=123 4567", "a|+|b|=|123| |456|7"),
        ("falcon", "a`b 1234", "a|`|b| |123|4"),
        ("tekken", "XMLHttp ÉCOLEÉcole's 12", "XMLHttp| ÉCOLEÉcole|'s| |1|2"),
        ("gpt-4o", "aBc it'S/\n12345", "a|Bc| it'S|/\n|123|45"),
        ("deepseek-v3", "x~y 你好abc 1234", "x|~y| |你好|abc| |123|4"),
        ("deepseek-llm", "Straße 12a,b", "Stra|ß|e| |12|a|,|b"),
        ("tiny_aya", "1234567ab", "1|234|567|ab"),
        ("bloom", "a,b. c", "a|,|b|.| c"),
    ],
)
def test_pieces(name, text, expected):
    assert pieces(name, text) == expected.split("|")


def test_classes_are_those_of_unicode_15_1():
    """The numbers of code points are Unicode's own (DerivedGeneralCategory 15.1)."""
    everything = "".join(chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    expected = {"_L": 136726, "_N": 1831, "_M": 2450, "_P": 842, "_S": 7775}
    for name, count in expected.items():
        others = pre_tokenizers.Split(Regex(f"[^{getattr(pretokenizers, name)}]+"), "removed")
        assert sum(len(piece) for piece, _ in others.pre_tokenize_str(everything)) == count


def test_an_unknown_rule_is_refused_by_name():
    with pytest.raises(KCircuitsError, match="'kimi-k2'"):
        find_pre_tokenizer("kimi-k2")


def assert_as_llama_cpp(header: Header, texts: list[str] | tuple[str, ...], file: Path) -> None:
    ours = read_gguf_tokenizer(take_from(header))
    assert ours is not None
    with llama_cpp.Vocabulary(write_header(file, header)) as theirs:
        for text in texts:
            assert ours(text)["input_ids"] == theirs.tokenize(text, add_special=True), repr(text)


@llama_cpp.needed
@pytest.mark.parametrize("name", NAMES)
def test_ids_are_llama_cpp_s(name, tmp_path):
    """With a vocabulary that joins across all borders between pieces, so that each border shows."""
    tokens, merges = trained("\0".join([*TEXTS, *random_texts(300, seed=1)]))
    header = byte_level(tokens, merges, pre=name, bos_token_id=5)
    assert_as_llama_cpp(header, [*TEXTS, *random_texts(300, seed=2)], tmp_path / "vocabulary.gguf")


def test_the_vocabulary_shows_borders():
    """That test can fail: other expressions give other ids, but for two that always split the same."""
    tokens, merges = trained("\0".join([*TEXTS, *random_texts(300, seed=1)]))
    found = {}
    for name in NAMES:
        header = byte_level(tokens, merges, pre=name, add_bos_token=False)
        tokenizer = read_gguf_tokenizer(take_from(header))
        assert tokenizer is not None
        texts = [*TEXTS, *random_texts(300, seed=2)]
        found[find_pre_tokenizer(name).splits] = str([tokenizer(text)["input_ids"] for text in texts])
    assert len(set(found.values())) == len(found) - 1
    assert found[find_pre_tokenizer("qwen2").splits] == found[find_pre_tokenizer("bailingmoe").splits]


@llama_cpp.needed
@pytest.mark.parametrize("name", ["gpt-2", "deepseek-v3", "gpt-4o"])
def test_every_border_of_a_class(name, tmp_path):
    """Code points at the ends of every range of one category, beside letters, digits, spaces and others."""
    categories = [unicodedata.category(chr(code)) for code in range(sys.maxunicode + 1)]
    ends = [code for code in range(1, len(categories)) if categories[code] != categories[code - 1]]
    codes = {*range(0x300), *ends, *(code - 1 for code in ends), 0x897, 0x10D40, 0x113C2, 0x1CC00, 0x1FAE9}
    pairs = dict.fromkeys(
        pair
        for one in "aA1 .\n'"
        for byte in BYTES
        for pair in ((BYTES[ord(one)], byte), (byte, BYTES[ord(one)]))
    )
    tokens = list(dict.fromkeys([*BYTES, *map("".join, pairs)]))
    header = byte_level(tokens, list(map(" ".join, pairs)), pre=name)
    characters = [chr(code) for code in sorted(codes) if not 0xD800 <= code < 0xE000]
    texts = [f"a{c}A{c}1 {c}.{c}\n{c}'{c}{c} {c}1{c} " for c in characters]
    together = ["".join(texts[start : start + 100]) for start in range(0, len(texts), 100)]
    assert_as_llama_cpp(header, together, tmp_path / "pairs.gguf")
