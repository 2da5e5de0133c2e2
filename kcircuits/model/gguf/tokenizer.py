"""The tokenizer of a GGUF file, by the rules of llama.cpp: the same ids, or none.

Special tokens in a text are those tokens, and texts begin with BOS where the file or its kind of tokenizer
says so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kcircuits.documents import shown
from kcircuits.errors import KCircuitsError
from kcircuits.model.gguf.pretokenizers import find_pre_tokenizer
from kcircuits.model.gguf.sentencepiece import merges_by_score
from kcircuits.model.gguf.special_tokens import FILL_KEYS, SpecialToken, TokenType, special_tokens
from kcircuits.model.tokenizer import FastTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Take = Callable[..., Any]

_PREFIX = "tokenizer.ggml."
# They say nothing about the ids of a text in tokenizers of the kinds read here.
_WITHOUT_EFFECT = (
    *(f"{_PREFIX}{name}_token_id" for name in ("padding", "cls", "mask", "eot", "eom")),
    *(f"{_PREFIX}{name}" for name in ("token_type_count", "remove_extra_whitespaces", "suppress_tokens")),
    *(f"{_PREFIX}normalizer.{name}" for name in ("lowercase", "strip_accents")),
    "tokenizer.chat_template",
    "tokenizer.huggingface.json",
)
_WHITE_SPACE = "[\\t\\n\\v\\f\\r ]"
_NOT_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
"""Bytes that no UTF-8 text has."""


def read_gguf_tokenizer(take: Take) -> FastTokenizer | None:
    """The tokenizer that a GGUF file's header describes.

    Parameters
    ----------
    take
        `take(key, default=...)` returns the value of a key of the header, or the default where it is absent;
        without a default it raises KCircuitsError.

    Returns
    -------
    FastTokenizer or None
        None if the file has no tokenizer.

    Raises
    ------
    KCircuitsError
        If the tokenizer is of a kind or needs a rule that is not known, so that its ids might be others than
        llama.cpp's, or the header makes no sense.
    """
    kind = take(f"{_PREFIX}model", default="none")
    if kind in ("none", "no_vocab"):
        return None
    if kind not in _KINDS:
        raise KCircuitsError(
            f"the file's tokenizer is of the kind {shown(kind)} (tokenizer.ggml.model); {' and '.join(_KINDS)} are "
            "known. Give prompts as token ids"
        )
    for key in _WITHOUT_EFFECT:
        take(key, default=None)
    return _KINDS[kind](_Header(take))


class _Header:
    """What both kinds of tokenizers have: tokens, their types, special tokens, and what stands at the ends."""

    def __init__(self, take: Take) -> None:
        self._take = take
        tokens = self.texts("tokens")
        self.tokens = [token or f"[EMPTY_{index}]" for index, token in enumerate(tokens)]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self.ids) < len(tokens):
            twice = next(token for index, token in enumerate(self.tokens) if self.ids[token] != index)
            raise KCircuitsError(f"the file's tokenizer has the token {shown(twice)} twice")
        types = take(f"{_PREFIX}token_type", default=None) or [TokenType.NORMAL] * len(tokens)
        if len(types) < len(tokens):
            raise KCircuitsError(f"the file has {len(tokens)} tokens and types of {len(types)}")
        fills = [key for key in FILL_KEYS if take(f"{_PREFIX}{key}", default=None) is not None]
        name = take("general.name", default="")
        self.special = special_tokens(self.tokens, types[: len(tokens)], fills, str(name))

    def texts(self, name: str) -> list[str]:
        values = self._take(f"{_PREFIX}{name}")
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise KCircuitsError(f"{_PREFIX}{name} must be a list of texts")
        return values

    def scores(self) -> list[float]:
        scores = self._take(f"{_PREFIX}scores", default=None) or [0.0] * len(self.tokens)
        if len(scores) < len(self.tokens) or not all(map(math.isfinite, scores)):
            raise KCircuitsError(f"the file's {len(self.tokens)} tokens must have one finite score each")
        return list(scores)

    def pre_tokenizer(self) -> str:
        return self._take(f"{_PREFIX}pre", default="") or "default"

    def flag(self, name: str, default: bool) -> bool:
        return bool(self._take(f"{_PREFIX}{name}", default=default))

    def id_of(self, name: str, default: int | None) -> int | None:
        """The id of a token with a meaning; one that the vocabulary does not have counts as not given."""
        for token in (self._take(f"{_PREFIX}{name}_token_id", default=default), default):
            if token is not None and 0 <= token < len(self.tokens):
                return int(token)
        return None

    def ends(
        self, bos: int | None, eos: int, add_bos: bool, add_sep: bool = False
    ) -> tuple[list[int], list[int]]:
        """Ids before and after every text; arguments are those where the file says nothing."""
        ends = []
        for name, default, added in (
            ("bos", bos, add_bos),
            ("eos", eos, False),
            ("seperator", None, add_sep),
        ):
            token = self.id_of(name, default)
            wanted = self.flag(f"add_{name.removesuffix('erator')}_token", added)
            if wanted and token is None:
                raise KCircuitsError(f"the file's tokenizer adds a token ({name}) that it does not have")
            ends.append([token] if wanted and token is not None else [])
        return ends[0], ends[1]  # separators stand between texts


def _byte_level(header: _Header) -> FastTokenizer:
    """tokenizer.ggml.model = "gpt2"."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    rule = find_pre_tokenizer(header.pre_tokenizer())
    header.flag("add_space_prefix", False)  # of SentencePiece's
    merges = _merges(header.texts("merges"), header.ids)
    missing = _missing_bytes(header, merges, rule.whole_words)
    steps = [pre_tokenizers.Split(Regex(split), "isolated") for split in rule.splits]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    if missing:
        steps.append(pre_tokenizers.Split(Regex(f"[{''.join(map(re.escape, missing))}]"), "removed"))
    backend = Tokenizer(models.BPE(header.ids, merges, ignore_merges=rule.whole_words))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    backend.decoder = decoders.ByteLevel()
    return _finished(
        backend,
        header,
        ends=header.ends(rule.bos, eos=11, add_bos=rule.add_bos),
        unknown=header.id_of("unknown", None),
        normalise=[],
        space_prefix=False,
    )


def _merges(lines: Sequence[str], ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs of tokens, each once."""
    pairs: dict[tuple[str, str], None] = {}
    for line in lines:
        space = line.find(" ", 1)
        left, right = (line[:space], line[space + 1 :]) if space > 0 else ("", "")
        if left not in ids or right not in ids or left + right not in ids:
            raise KCircuitsError(f"the merge {shown(line)} of the file's tokenizer is not one of its tokens")
        pairs.setdefault((left, right))
    return list(pairs)


def _missing_bytes(header: _Header, merges: Sequence[tuple[str, str]], whole_words: bool) -> list[str]:
    """Bytes, as characters of the byte alphabet, that are no tokens: llama.cpp leaves them out of a text."""
    alphabet = _byte_characters()
    missing = {alphabet[byte] for byte in set(range(0x100)) - _NOT_UTF8} - header.ids.keys()
    if missing:
        made = {part for pair in merges for part in pair}
        if whole_words:
            made |= header.ids.keys() - {token.text for token in header.special}
        for token in made:
            if not missing.isdisjoint(token):
                raise KCircuitsError(
                    f"the token {shown(token)} of the file's tokenizer has a byte that is not a token of its own"
                )
    return sorted(missing)


def _byte_characters() -> list[str]:
    """The character that stands for each byte."""
    shown_bytes = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in shown_bytes else next(others)) for byte in range(0x100)]


def _sentencepiece(header: _Header) -> FastTokenizer:
    """tokenizer.ggml.model = "llama"."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    header.pre_tokenizer()
    scores = dict(zip(header.tokens, header.scores(), strict=False))
    merges = merges_by_score(scores, [token.text for token in header.special])
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(0x100)]
    for byte, token in enumerate(byte_tokens):
        if token not in header.ids and byte not in _NOT_UTF8:
            raise KCircuitsError(f"the file's tokenizer has no token {token} for a byte")
    if any(part in byte_tokens for pair in merges for part in pair):
        raise KCircuitsError("the file's tokenizer makes tokens of the names of bytes, such as <0x41>")
    prefix = header.flag("add_space_prefix", True)
    backend = Tokenizer(models.BPE(header.ids, merges, byte_fallback=True))
    decoding = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(decoding + [decoders.Strip(" ", 1, 0)] * prefix)
    return _finished(
        backend,
        header,
        ends=header.ends(bos=1, eos=2, add_bos=True),
        unknown=header.id_of("unknown", 0),
        normalise=[normalizers.Replace(" ", "▁")],
        space_prefix=prefix,
    )


_KINDS: dict[str, Callable[[_Header], FastTokenizer]] = {"gpt2": _byte_level, "llama": _sentencepiece}


def _finished(
    backend: Tokenizer,
    header: _Header,
    *,
    ends: tuple[list[int], list[int]],
    unknown: int | None,
    normalise: list[Any],
    space_prefix: bool,
) -> FastTokenizer:
    """Special tokens, normalisation and what stands at the ends of texts.

    normalise: steps for the text between special tokens. space_prefix: whether it then gets a mark for a space.
    """
    from tokenizers import AddedToken, Regex, normalizers, processors

    special = header.special
    strips = [token for token in special if token.strips_right]
    if strips:
        # The library would drop any white space; llama.cpp drops ASCII's. So it is dropped in the whole text,
        # in which special tokens are then found.
        after = f"(?<={_any_of(strips)})"
        normalise = [normalizers.Replace(Regex(f"{after}{_WHITE_SPACE}+"), ""), *normalise]
        if space_prefix:
            piece = f"(?:\\A|(?<={_any_of(special)}))(?!{_any_of(special)}|\\z)"
            normalise.append(normalizers.Replace(Regex(piece), "▁"))
    elif space_prefix:
        normalise = [normalizers.Prepend("▁"), *normalise]
    if normalise:
        backend.normalizer = normalizers.Sequence(normalise)
    for is_control, add in ((True, backend.add_special_tokens), (False, backend.add_tokens)):
        texts = [token.text for token in special if token.is_control == is_control]
        add([AddedToken(text, normalized=bool(strips), special=is_control) for text in texts])
    if any(ends):
        sequence = [header.tokens[token] for token in ends[0]], [header.tokens[token] for token in ends[1]]
        backend.post_processor = processors.TemplateProcessing(
            single=[*sequence[0], "$A", *sequence[1]],
            special_tokens=[(header.tokens[token], token) for token in {*ends[0], *ends[1]}],
        )
    return FastTokenizer(backend, unknown, split_special_tokens=False)


def _any_of(tokens: Sequence[SpecialToken]) -> str:
    return "|".join(re.escape(token.text) for token in tokens)
