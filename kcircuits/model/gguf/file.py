"""A GGUF model, in one file or several, with an account of the parts that were used.

`GgufFile.take` and `GgufFile.tensor` return keys of the header and tensors, and record their use.
`GgufFile.check_account` refuses a file with unused parts that are not known to be harmless, so nothing in a
file is ignored silently.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.model.gguf.header import check_header
from kcircuits.runtime.optional import need

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderTensor

MAGIC = b"GGUF"

HARMLESS_KEYS: Mapping[str, str] = {
    "GGUF.*": "sizes of the header itself",
    "general.*": "metadata about the file",
    "quantize.*": "how the file was quantised",
    "split.*": "the parts of a split file, which are joined",
    "tokenizer.chat_template": "prompts are used without a template",
    "tokenizer.chat_template.*": "prompts are used without a template",
    "tokenizer.chat_templates": "prompts are used without a template",
    **dict.fromkeys(
        (f"tokenizer.ggml.{name}_token_id" for name in ("padding", "cls", "mask", "eot", "eom")),
        "a token that prompts do not get",
    ),
    "tokenizer.ggml.*_token_ids": "tokens that end a generated text",
    "gemma3.vision.*": "the vision part, which is not in the file",
    "gemma3.mm.*": "the vision part, which is not in the file",
    "tokenizer.ggml.token_type_count": "of other kinds of tokenizers",
    "tokenizer.ggml.remove_extra_whitespaces": "of other kinds of tokenizers",
    "tokenizer.ggml.normalizer.*": "of other kinds of tokenizers",
    "tokenizer.ggml.suppress_tokens": "tokens that are not generated",
    "tokenizer.huggingface.json": "the ids of tokenizer.ggml.* are used, as llama.cpp does",
    "*.rope.scaling.finetuned": "whether the model was trained further with its scaling",
    "*.use_kv_cache": "how a run is cached, not what it computes",
}
"""Keys that change no number, as patterns, each with the reason."""

FALSE_IS_HARMLESS: Mapping[str, str] = {
    **dict.fromkeys(
        (f"tokenizer.ggml.add_{name}_token" for name in ("padding", "unknown", "mask", "cls")),
        "a token that is not added",
    ),
    "*.use_alibi": "a bias that is not there",
    "*.expert_shared_feed_forward_length": "shared experts that are not there",
    "*.expert_shared_count": "shared experts that are not there",
}
"""Keys that change no number where they are false or 0, as patterns, each with the reason."""

OWN_NAMESPACES = ("general", "tokenizer", "split", "adapter", "clip", "quantize")
"""Prefixes of keys, besides the architectures, that may change numbers."""

HARMLESS_TENSORS: Mapping[str, str] = {
    "blk.*.attn_rot_embd.weight": "rotation frequencies of old converters, computed from rope.freq_base",
    "blk.*.attention.rotary_emb.inv_freq": "rotation frequencies, computed from rope.freq_base",
}
"""Tensors that change no number, as patterns, each with the reason."""

_PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)?$", re.IGNORECASE)
_MISSING = object()

NO_TOKENIZER = ("none", "no_vocab")
"""Value of `tokenizer.ggml.model` in a file without a tokenizer."""


@dataclass(frozen=True)
class GgufAccount:
    """The used and ignored parts of a file.

    `keys` and `tensors`: the names that were used, sorted. `ignored`: name -> why it changes no number.
    `kinds`: the types of the tensors that were used, such as "Q4_1", the most frequent first.
    """

    architecture: str
    num_files: int
    keys: tuple[str, ...]
    tensors: tuple[str, ...]
    ignored: dict[str, str]
    kinds: tuple[str, ...]


def is_gguf(path: Path) -> bool:
    """Whether a regular file starts like a GGUF file, whatever its name is."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def parts_of(file: Path) -> list[Path]:
    """All files of the split model that this file belongs to, in order; only the file if it is not split.

    Raises KCircuitsError if one of them is missing.
    """
    match = _PART.match(file.name)
    if match is None:
        return [file]
    count = int(match["count"])
    parts = [
        file.with_name(f"{match['stem']}-{number:05d}-of-{count:05d}{match['suffix'] or ''}")
        for number in range(1, count + 1)
    ]
    for part in parts:
        if not part.is_file():
            raise KCircuitsError(f"{file} is one of {count} parts of a model, but {part.name} is missing")
    return parts


class GgufFile:
    """The header and the tensors of a GGUF model.

    Parameters
    ----------
    path
        The file, or any part of a split model; all parts must be in the same folder.

    Raises
    ------
    KCircuitsError
        If a file is not a complete GGUF file, a part is missing or belongs to another model, or the file is
        not a language model (an adapter, for example).
    """

    def __init__(self, path: Path) -> None:
        need("gguf", "GGUF files")
        from gguf import GGUFReader

        self.path = path
        self.parts = parts_of(path)
        self.num_numbers = sum(check_header(part) for part in self.parts)
        readers = [GGUFReader(part) for part in self.parts]
        self._fields = dict(readers[0].fields)
        self._tensors: dict[str, ReaderTensor] = {}
        for part, reader in zip(self.parts, readers, strict=True):
            for tensor in reader.tensors:
                if tensor.name in self._tensors:
                    raise KCircuitsError(f"{part} holds the tensor {quote(tensor.name)} a second time")
                self._tensors[tensor.name] = tensor
        self._used_keys: set[str] = set()
        self._used_tensors: set[str] = set()
        self._check_parts(readers)
        layers = max(
            (field.contents() for key, field in self._fields.items() if key.endswith(".block_count")),
            default=0,
        )
        if isinstance(layers, int) and layers > len(self._tensors):
            raise KCircuitsError(f"{path} has {len(self._tensors)} tensors, too few for {layers} layers")
        kind = self.take("general.type", "model")
        if kind != "model":
            raise KCircuitsError(f"{path} is of the type {quote(kind)}, not a language model")
        self.architecture: str = self.take("general.architecture")

    def take(self, key: str, default: Any = _MISSING) -> Any:
        """The value of a key (a number, text, bool or list), which is recorded as used.

        Raises KCircuitsError if there is no such key and no default.
        """
        if key not in self._fields:
            if default is _MISSING:
                raise KCircuitsError(f"{self.path} lacks the key {key!r}; convert the model to GGUF again")
            return default
        self._used_keys.add(key)
        value = self._fields[key].contents()
        if isinstance(value, float) and not math.isfinite(value):
            raise KCircuitsError(f"{self.path}: {key} is {value}, which is not a finite number")
        return value

    def take_own(self, name: str, default: Any = _MISSING) -> Any:
        """The value of a key of the architecture, such as `block_count` for `llama.block_count`."""
        return self.take(f"{self.architecture}.{name}", default)

    def has(self, tensor: str) -> bool:
        """Whether there is a tensor of this name."""
        return tensor in self._tensors

    def tensor(self, name: str) -> ReaderTensor:
        """A tensor, which is recorded as used; raises KCircuitsError if there is none of this name."""
        if name not in self._tensors:
            raise KCircuitsError(f"{self.path} lacks the tensor {name!r}")
        self._used_tensors.add(name)
        return self._tensors[name]

    def close(self) -> None:
        """Release header and tensors, which take memory for every token of the vocabulary."""
        self._fields.clear()
        self._tensors.clear()

    def check_account(self) -> GgufAccount:
        """Check that everything in the file was used or is harmless, and return the account.

        Raises KCircuitsError that names the first unused key or tensor.
        """
        ignored = {}
        for kind, names, used, harmless in (
            ("key", self._fields, self._used_keys, HARMLESS_KEYS),
            ("tensor", self._tensors, self._used_tensors, HARMLESS_TENSORS),
        ):
            for name in names:
                if name in used:
                    continue
                reason = _reason(harmless, name) or (self._reason_of_key(name) if kind == "key" else None)
                if reason is None:
                    raise KCircuitsError(
                        f"{self.path} has the {kind} {quote(name)}{self._value(kind, name)}, which is not "
                        f"used for the architecture {self.architecture!r}, so results could be wrong; "
                        "try a Hugging Face folder of the model"
                    )
                ignored[name] = reason
        kinds = Counter(self._tensors[name].tensor_type.name for name in self._used_tensors)
        return GgufAccount(
            architecture=self.architecture,
            num_files=len(self.parts),
            keys=tuple(sorted(self._used_keys)),
            tensors=tuple(sorted(self._used_tensors)),
            ignored=ignored,
            kinds=tuple(kind for kind, _ in kinds.most_common()),
        )

    def _reason_of_key(self, name: str) -> str | None:
        """Why a key changes no number, because of its value or its program; None if it may change one."""
        if not self._fields[name].contents() and (reason := _reason(FALSE_IS_HARMLESS, name)):
            return reason
        if name.startswith("tokenizer.ggml.") and self.take("tokenizer.ggml.model", "") in NO_TOKENIZER:
            return "the file has no tokenizer"
        first, _, rest = name.partition(".")
        if rest and first != self.architecture and first not in (*OWN_NAMESPACES, *_architectures()):
            return "a note of the program that wrote the file"
        return None

    def _value(self, kind: str, name: str) -> str:
        return f" = {quote(self._fields[name].contents())}" if kind == "key" else ""

    def _check_parts(self, readers: list[GGUFReader]) -> None:
        count = self.take("split.count", 1)
        if count != len(self.parts) and count > 1:
            raise KCircuitsError(
                f"{self.path} is one of {count} parts of a model; "
                f"name them NAME-00001-of-{count:05d}.gguf and so on"
            )
        expected = self.take("split.tensors.count", len(self._tensors))
        if expected != len(self._tensors):
            raise KCircuitsError(
                f"{self.path} and its parts have {len(self._tensors)} tensors, but should have {expected}"
            )
        for number, (part, reader) in enumerate(zip(self.parts, readers, strict=True)):
            for key, field in reader.fields.items() if number else ():
                same = key in self._fields and field.contents() == self._fields[key].contents()
                if not same and not key.startswith(("split.", "general.", "GGUF.")):
                    raise KCircuitsError(
                        f"{part} has the key {quote(key)}, which is missing or different in the first part"
                    )
            place = reader.fields.get("split.no")
            if len(self.parts) > 1 and (place is None or place.contents() != number):
                raise KCircuitsError(f"{part} is not part {number + 1} of {len(self.parts)}")


def _reason(table: Mapping[str, str], name: str) -> str | None:
    return next((why for pattern, why in table.items() if fnmatchcase(name, pattern)), None)


@cache
def _architectures() -> frozenset[str]:
    """All architectures that GGUF names."""
    need("gguf", "GGUF files")
    from gguf import MODEL_ARCH_NAMES

    return frozenset(MODEL_ARCH_NAMES.values())
