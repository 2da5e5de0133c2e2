"""Special tokens of GGUF files: which are found in a text, as in llama.cpp."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from gguf import TokenType

from kcircuits.errors import KCircuitsError
from kcircuits.model.gguf.special_tokens import special_tokens
from kcircuits.model.gguf.tokenizer import read_gguf_tokenizer
from kcircuits.model.tokenizer import FastTokenizer
from tests.model.gguf import llama_cpp
from tests.model.gguf.awkward import random_texts
from tests.model.gguf.vocabularies import BYTES, Header, by_score, byte_level, take_from, write_header

CONTROL, USER_DEFINED, NORMAL, UNKNOWN, UNUSED = (
    TokenType.CONTROL,
    TokenType.USER_DEFINED,
    TokenType.NORMAL,
    TokenType.UNKNOWN,
    TokenType.UNUSED,
)

SETS: dict[str, dict[str, TokenType]] = {
    "types": {"<c>": CONTROL, "<u>": USER_DEFINED, "<n>": NORMAL, "<unk>": UNKNOWN, "<x>": UNUSED},
    "runs": {"  ": USER_DEFINED, "   ": USER_DEFINED, "\n\n": USER_DEFINED, "<c>": CONTROL, "<c>\n": CONTROL},
    "ends": {
        "<|im_end|>": NORMAL,
        "</s>": UNUSED,
        "<|eot_id|>": USER_DEFINED,
        "[EOS]": NORMAL,
        "<EOS>": NORMAL,
    },
    "fills": {"<|fim_prefix|>": NORMAL, "<|fim_suffix|>": CONTROL, "<SUF>": CONTROL, "<|file_sep|>": NORMAL},
    "harmony": dict.fromkeys(
        ["<|start|>", "<|end|>", "<|message|>", "<|return|>", "<|call|>", "<|channel|>"], CONTROL
    ),
    "tools": {"<|tool_response>": NORMAL, "</s>": CONTROL, "<turn|>": NORMAL},
    "inside": {"<a": USER_DEFINED, "<a>": CONTROL, "b": USER_DEFINED, "<ab>": UNKNOWN},
}
PHI3 = dict.fromkeys(
    ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|user|>", "<|end|>", "<|assistant|>"], CONTROL
)


def compare(header: Header, texts: list[str], file: Path) -> FastTokenizer:
    ours = read_gguf_tokenizer(take_from(header))
    assert ours is not None
    with llama_cpp.Vocabulary(write_header(file, header)) as theirs:
        tokens = header["tokenizer.ggml.tokens"]
        found = special_tokens(
            tokens, header["tokenizer.ggml.token_type"], (), header.get("general.name", "")
        )
        assert {tokens.index(token.text) for token in found} == theirs.special_ids()
        for text in texts:
            assert ours(text)["input_ids"] == theirs.tokenize(text, add_special=True), repr(text)
    return ours


@llama_cpp.needed
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", ["bytes", "scores"])
def test_ids_are_llama_cpp_s(name, kind, tmp_path):
    special = SETS[name]
    if kind == "bytes":
        header = byte_level([*BYTES, "ab"], ["a b"], special, pre="qwen2")
    else:
        scores = {**dict.fromkeys("▁ab<>", -1.0), "▁a": -2.0}
        header = by_score(scores, special)
    texts = random_texts(200, seed=4, extra=(*special, "<c", "a>", "<s>", "</s>"))
    compare(header, texts, tmp_path / "special.gguf")


@llama_cpp.needed
@pytest.mark.parametrize("kind", ["bytes", "scores"])
def test_phi3_drops_ascii_space_after_some(kind, tmp_path):
    header = (
        byte_level([*BYTES, "ab"], ["a b"], PHI3, pre="qwen2")
        if kind == "bytes"
        else by_score({"▁": -1.0, "a": -2.0}, PHI3)
    )
    header["general.name"] = "Phi-3 Mini"
    spaces = (" ", "  ", "\n", "\t", "\v\f\r", "\u00a0", "\u3000", "\x1c", "\u0085")
    source = random.Random(6)
    texts = ["".join(source.choices((*PHI3, *spaces, "a", "é"), k=source.randint(1, 10))) for _ in range(400)]
    compare(header, texts, tmp_path / "phi3.gguf")


def test_phi3_by_hand():
    header = by_score({"▁": -1.0, "a": -2.0}, PHI3) | {"general.name": "phi3"}
    tokenizer = read_gguf_tokenizer(take_from(header))
    assert tokenizer is not None
    tokens = header["tokenizer.ggml.tokens"]
    ids = tokenizer("<|user|> \n a<s> a\u00a0", add_special_tokens=False)["input_ids"]
    assert [tokens[index] for index in ids] == [
        "<|user|>",
        "▁",
        "a",
        "<s>",
        "▁",
        "▁",
        "a",
        "<0xC2>",
        "<0xA0>",
    ]


def test_which_are_found():
    types = {"a": NORMAL, "<c>": CONTROL, "<u>": USER_DEFINED, "<|im_end|>": NORMAL, "<|fim_pad|>": NORMAL}
    found = special_tokens(list(types), list(types.values()), (), "")
    assert [(token.text, token.is_control) for token in found] == [
        ("<c>", True),
        ("<u>", False),
        ("<|im_end|>", True),
        ("<|fim_pad|>", True),
    ]
    found = special_tokens(list(types), list(types.values()), ["fim_pad_token_id"], "")
    assert [token.text for token in found] == ["<c>", "<u>", "<|im_end|>"]


@pytest.mark.parametrize(
    ("types", "name", "message"),
    [
        ({"<fim_prefix>": NORMAL, "<PRE>": NORMAL}, "", "several tokens"),
        ({"abc": USER_DEFINED, "bcde": USER_DEFINED}, "", "'abc' and 'bcde' can overlap"),
        ({"ab": USER_DEFINED, "bc": CONTROL}, "", "overlap"),
        ({"[MASK]": CONTROL}, "modern-bert", "ModernBERT"),
        ({"<s>": CONTROL}, "Phi-3", "lacks the token"),
        (PHI3 | {"x y": USER_DEFINED}, "Phi-3", "white space"),
        (PHI3 | {"<|end|>x": USER_DEFINED}, "Phi-3", "overlap"),
    ],
)
def test_what_is_refused(types, name, message):
    with pytest.raises(KCircuitsError, match=message):
        special_tokens(list(types), list(types.values()), (), name)
