"""The tokenizer of a GGUF file, which gives the same ids as llama.cpp or is refused.

Special tokens written in a text are matched as such, and texts begin with BOS if the file or its kind of
tokenizer requires it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote
from kcircuits.model.gguf.file import NO_TOKENIZER
from kcircuits.model.gguf.pretokenizers import find_pre_tokenizer
from kcircuits.model.gguf.sentencepiece import merges_by_score
from kcircuits.model.gguf.special_tokens import FILL_KEYS, SpecialToken, TokenType, special_tokens
from kcircuits.model.huggingface import first_line
from kcircuits.model.tokenizer import FastTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Take = Callable[..., Any]
T = TypeVar("T")

_PREFIX = "tokenizer.ggml."
_LONGEST_TOKEN = 2000
"""Maximum number of characters of a token, far more than any has."""
_NOT_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
"""Bytes that do not occur in UTF-8."""


def read_gguf_tokenizer(take: Take) -> FastTokenizer | None:
    """The tokenizer that a GGUF file's header describes.

    Parameters
    ----------
    take
        `take(key, default=...)` returns the value of a key of the header, or the default if it is missing;
        without a default, a missing key raises KCircuitsError.

    Returns
    -------
    FastTokenizer or None
        None if the file has no tokenizer.

    Raises
    ------
    KCircuitsError
        If the tokenizer has an unknown kind or rule, so that its ids might differ from those of llama.cpp, or
        the header is invalid.
    """
    header = _Header(take)
    kind = header.value("model", str, "none")
    if kind in NO_TOKENIZER:
        return None
    if kind not in _KINDS:
        raise KCircuitsError(
            f"the file's tokenizer is of the kind {quote(kind)} (tokenizer.ggml.model), but only "
            f"{' and '.join(map(repr, _KINDS))} are supported; try a Hugging Face folder of the model"
        )
    try:
        return _KINDS[kind](header)
    except KCircuitsError:
        raise
    except Exception as error:  # the library raises errors of the type Exception
        raise KCircuitsError(f"cannot build the file's tokenizer: {first_line(error)}") from error


class _Header:
    """Access to keys of the header with checks of their types."""

    def __init__(self, take: Take) -> None:
        self._take = take

    def value(self, name: str, kind: type[T], *default: T | None) -> T | Any:
        """The value of `tokenizer.ggml.NAME`, which is required if there is no default."""
        key = f"{_PREFIX}{name}"
        value = self._take(key, default=default[0]) if default else self._take(key)
        if type(value) is not kind and not (default and value == default[0]):
            raise KCircuitsError(f"{key} must be of the type {kind.__name__}, got {quote(value)}")
        return value

    def values(self, name: str, kind: type[T], length: int | None = None) -> list[T]:
        """A required list with at least `length` values; further values are dropped."""
        values = self.value(name, list)
        if not all(type(value) is kind for value in values):
            raise KCircuitsError(f"{_PREFIX}{name} must be a list of values of the type {kind.__name__}")
        if length is not None and len(values) < length:
            raise KCircuitsError(f"{_PREFIX}{name} has {len(values)} values for {length} tokens")
        return list(values[:length])

    def has(self, name: str) -> bool:
        return self._take(f"{_PREFIX}{name}", default=None) is not None

    def model_name(self) -> str:
        return str(self._take("general.name", default=""))


class _Vocabulary:
    """The common part of both kinds of tokenizers: tokens, special tokens, BOS and EOS."""

    def __init__(self, header: _Header) -> None:
        self.header = header
        tokens = header.values("tokens", str)
        self.tokens = [token or f"[EMPTY_{index}]" for index, token in enumerate(tokens)]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        for index, token in enumerate(self.tokens):
            if self.ids[token] != index:
                raise KCircuitsError(f"the file's tokenizer has the token {quote(token)} twice")
            if len(token) > _LONGEST_TOKEN:
                raise KCircuitsError(f"the file's tokenizer has a token of {len(token)} characters")
        types = [int(TokenType.NORMAL)] * len(tokens)
        if header.has("token_type"):
            types = header.values("token_type", int, len(tokens))
        fills = [key for key in FILL_KEYS if header.has(key)]
        self.special = special_tokens(self.tokens, types, fills, header.model_name())

    def id_of(self, name: str, default: int | None) -> int | None:
        """The id of a token with a special meaning, else the default; invalid ids are ignored."""
        given = self.header.value(f"{name}_token_id", int, None)
        for token in (given, default):
            if token is not None and 0 <= token < len(self.tokens):
                return int(token)
        return None

    def ends(self, bos: int | None, eos: int, add_bos: bool) -> tuple[list[str], list[str]]:
        """Tokens before and after every text; the arguments are the defaults."""
        ends = []
        for name, default, adds in (("bos", bos, add_bos), ("eos", eos, False), ("seperator", None, False)):
            token = self.id_of(name, default)
            wanted = self.header.value(f"add_{name.removesuffix('erator')}_token", bool, adds)
            if wanted and token is None:
                raise KCircuitsError(f"the file's tokenizer adds a token ({name}) that it does not have")
            ends.append([self.tokens[token]] if wanted and token is not None else [])
        return ends[0], ends[1]  # separators are only between texts


def _byte_level(header: _Header) -> FastTokenizer:
    """tokenizer.ggml.model = "gpt2"."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    rule = find_pre_tokenizer(header.value("pre", str, "") or "default")
    header.value("add_space_prefix", bool, False)  # without effect here
    vocabulary = _Vocabulary(header)
    merges = _merges(header.values("merges", str), vocabulary.ids)
    missing = _missing_bytes(vocabulary, merges, rule.whole_words)
    steps: list[Any] = [pre_tokenizers.Split(Regex(split), "isolated") for split in rule.splits]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    if missing:
        steps.append(pre_tokenizers.Split(Regex(f"[{''.join(map(re.escape, missing))}]"), "removed"))
    backend = Tokenizer(models.BPE(vocabulary.ids, merges, ignore_merges=rule.whole_words))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    backend.decoder = decoders.ByteLevel()
    _add_special(backend, vocabulary.special)
    _add_ends(backend, vocabulary.ids, *vocabulary.ends(rule.bos, eos=11, add_bos=rule.add_bos))
    return FastTokenizer(backend, vocabulary.id_of("unknown", None), split_special_tokens=False)


def _merges(lines: Sequence[str], ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs of tokens, each once."""
    pairs: dict[tuple[str, str], None] = {}
    for line in lines:
        space = line.find(" ", 1)
        left, right = (line[:space], line[space + 1 :]) if space > 0 else ("", "")
        if left not in ids or right not in ids or left + right not in ids:
            raise KCircuitsError(f"the merge {quote(line)} of the file's tokenizer is not of its tokens")
        pairs.setdefault((left, right))
    return list(pairs)


def _missing_bytes(
    vocabulary: _Vocabulary, merges: Sequence[tuple[str, str]], whole_words: bool
) -> list[str]:
    """Bytes without a token, as characters of the byte alphabet; llama.cpp drops them from a text."""
    alphabet = _byte_characters()
    missing = {alphabet[byte] for byte in set(range(0x100)) - _NOT_UTF8} - vocabulary.ids.keys()
    if missing:
        made = {part for pair in merges for part in pair}
        if whole_words:
            made |= vocabulary.ids.keys() - {token.text for token in vocabulary.special}
        for token in made:
            if not missing.isdisjoint(token):
                raise KCircuitsError(
                    f"the token {quote(token)} of the file's tokenizer has a byte that is not a token"
                )
    return sorted(missing)


def _byte_characters() -> list[str]:
    """Byte -> the character that represents it."""
    shown_bytes = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in shown_bytes else next(others)) for byte in range(0x100)]


def _sentencepiece(header: _Header) -> FastTokenizer:
    """tokenizer.ggml.model = "llama"."""
    from tokenizers import Tokenizer, decoders, models

    header.value("pre", str, "")  # without effect here
    prefix = header.value("add_space_prefix", bool, True)
    vocabulary = _Vocabulary(header)
    scores = [0.0] * len(vocabulary.tokens)
    if header.has("scores"):
        scores = header.values("scores", float, len(scores))
    if not all(map(math.isfinite, scores)):
        raise KCircuitsError("the scores of the file's tokens must be finite")
    merges = merges_by_score(
        dict(zip(vocabulary.tokens, scores, strict=True)), [token.text for token in vocabulary.special]
    )
    _check_bytes(vocabulary.ids, merges)
    backend = Tokenizer(models.BPE(vocabulary.ids, merges, byte_fallback=True))
    decoding = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(decoding + [decoders.Strip(" ", 1, 0)] * prefix)
    _mark_spaces(backend, vocabulary.special, prefix)
    _add_special(backend, vocabulary.special)
    _add_ends(backend, vocabulary.ids, *vocabulary.ends(bos=1, eos=2, add_bos=True))
    return FastTokenizer(backend, vocabulary.id_of("unknown", 0), split_special_tokens=False)


_KINDS = {"gpt2": _byte_level, "llama": _sentencepiece}


def _check_bytes(ids: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
    """Check the tokens of bytes, which replace characters without a token."""
    names = [f"<0x{byte:02X}>" for byte in range(0x100)]
    for byte, name in enumerate(names):
        if name not in ids and byte not in _NOT_UTF8:
            raise KCircuitsError(f"the file's tokenizer has no token {name} for a byte")
    if any(part in names for pair in merges for part in pair):
        raise KCircuitsError("the file's tokenizer has merges with names of bytes, such as <0x41>")


def _mark_spaces(backend: Tokenizer, special: Sequence[SpecialToken], prefix: bool) -> None:
    """Replace spaces between special tokens by marks; with `prefix`, also add one mark before the text."""
    from tokenizers import Regex, normalizers

    steps: list[Any] = [normalizers.Replace(" ", "▁")]
    if prefix and any(token.strips_right for token in special):
        # Special tokens are matched in the whole text later (`_add_special`), so they are located here.
        start = f"(?:\\A|(?<={_any_of(special)}))(?!{_any_of(special)}|\\z)"
        steps.append(normalizers.Replace(Regex(start), "▁"))
    elif prefix:
        steps.insert(0, normalizers.Prepend("▁"))
    backend.normalizer = normalizers.Sequence(steps)


def _add_special(backend: Tokenizer, special: Sequence[SpecialToken]) -> None:
    """Add the tokens that are matched in a text before anything else.

    White space after tokens that drop it is removed before, because the library would also drop white space
    that is not ASCII.
    """
    from tokenizers import AddedToken, Regex, normalizers

    strips = [token for token in special if token.strips_right]
    if strips:
        dropped = normalizers.Replace(Regex(f"(?<={_any_of(strips)})[\\t\\n\\v\\f\\r ]+"), "")
        others = [backend.normalizer] if backend.normalizer else []
        backend.normalizer = normalizers.Sequence([dropped, *others])
    for is_control, add in ((True, backend.add_special_tokens), (False, backend.add_tokens)):
        texts = [token.text for token in special if token.is_control == is_control]
        add([AddedToken(text, normalized=bool(strips), special=is_control) for text in texts])


def _any_of(tokens: Sequence[SpecialToken]) -> str:
    return "|".join(re.escape(token.text) for token in tokens)


def _add_ends(
    backend: Tokenizer, ids: Mapping[str, int], before: Sequence[str], after: Sequence[str]
) -> None:
    from tokenizers import processors

    if before or after:
        backend.post_processor = processors.TemplateProcessing(
            single=[*before, "$A", *after],
            special_tokens=[(token, ids[token]) for token in {*before, *after}],
        )
