"""Small tokenizers as headers of GGUF files: written for llama.cpp, and read by us."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gguf
from gguf import TokenType
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from kcircuits.errors import KCircuitsError
from tests.model.gguf.hf_to_gguf import add_key

Header = dict[str, Any]

ABSENT = object()


def _byte_characters() -> list[str]:
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(0x100)]


BYTES = _byte_characters()
"""The characters by which byte-level vocabularies write bytes."""


def take_from(header: Mapping[str, Any], taken: set[str] | None = None) -> Callable[..., Any]:
    """What `read_gguf_tokenizer` is given."""

    def take(key: str, default: Any = ABSENT) -> Any:
        if taken is not None:
            taken.add(key)
        if key in header:
            return header[key]
        if default is ABSENT:
            raise KCircuitsError(f"the file has no {key}")
        return default

    return take


def read_header(file: Path) -> Header:
    """A file's header as Python data."""
    return {key: field.contents() for key, field in gguf.GGUFReader(file).fields.items()}


def write_header(file: Path, header: Header) -> Path:
    """A GGUF file without weights."""
    writer = gguf.GGUFWriter(file, header.get("general.architecture", "llama"))
    for key, value in header.items():
        if key != "general.architecture":
            add_key(writer, key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return file


def byte_level(
    tokens: list[str], merges: list[str], special: Mapping[str, TokenType] | None = None, **more: Any
) -> Header:
    """A header of the kind "gpt2"; `more` are keys without `tokenizer.ggml.`, as in `pre="qwen2"`."""
    special = special or {}
    all_tokens = [*tokens, *(token for token in special if token not in tokens)]
    types = [int(special.get(token, TokenType.NORMAL)) for token in all_tokens]
    return _header(model="gpt2", tokens=all_tokens, token_type=types, merges=merges, **more)


def by_score(
    scores: Mapping[str, float], special: Mapping[str, TokenType] | None = None, **more: Any
) -> Header:
    """A header of the kind "llama": three control tokens, all bytes, then `scores`' tokens."""
    fixed = {"<unk>": TokenType.UNKNOWN, "<s>": TokenType.CONTROL, "</s>": TokenType.CONTROL}
    fixed |= {f"<0x{byte:02X}>": TokenType.BYTE for byte in range(256)}
    kinds = fixed | dict.fromkeys(scores, TokenType.NORMAL) | dict(special or {})
    values = [float(scores.get(token, 0.0)) for token in kinds]
    types = [int(kind) for kind in kinds.values()]
    return _header(model="llama", tokens=list(kinds), token_type=types, scores=values, **more)


def _header(**keys: Any) -> Header:
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


@cache
def trained(text: str, size: int = 3000) -> tuple[list[str], list[str]]:
    """Tokens and merges of byte-level BPE on a text that is not split, so that tokens cross all borders."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=BYTES, show_progress=False)
    tokenizer.train_from_iterator(text.split("\0"), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return tokens, [" ".join(pair) for pair in model["merges"]]
