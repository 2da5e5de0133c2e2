"""Special tokens of a GGUF file, which are matched in a text before it is tokenised.

llama.cpp goes through these tokens from the longest to the shortest and matches each wherever it occurs in
the rest of the text. The library `tokenizers` matches the longest token at the first possible position. The
results are the same unless tokens can overlap, in which case the file is refused.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote


class TokenType(enum.IntEnum):
    """GGUF's numbers in `tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class SpecialToken:
    """A token that is matched in texts.

    is_control: whether it is not matched when special tokens are read as text. strips_right: whether ASCII
    white space after it is dropped.
    """

    text: str
    is_control: bool
    strips_right: bool = False


# Ends of a text or a turn, which are always control tokens.
_ENDS = """
    </s> <eos> <EOT> _<EOT> [EOT] [EOS] [e~[ <end_of_turn> <turn|> <end_of_utterance> <|endoftext|>
    <|end_of_text|> <｜end▁of▁sentence｜> <|eot_id|> <|eom_id|> <|im_end|> <|end|> <|return|> <|call|>
    <|calls|> <|flush|> <|tool_response>
"""

# Tokens for filling gaps in code: the first one in a line that the file has is a control token, unless a key
# with one of these names (and "_token_id") in the file names another.
_FILLS = {
    "fim_pre prefix": "<|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> "
    "<|code_prefix|> <|prefix|>",
    "fim_suf suffix": "<|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> "
    "<|code_suffix|> <|suffix|>",
    "fim_mid middle": "<|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> "
    "<|code_middle|> <|middle|>",
    "fim_pad": "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]",
    "fim_rep": "<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>",
    "fim_sep": "<|file_sep|>",
}
FILL_KEYS = tuple(f"{key}_token_id" for keys in _FILLS for key in keys.split())
"""Names of the keys for tokens that fill gaps."""

_ALWAYS_SHOWN = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")
_KEPT_SPACE_AFTER = ("<unk>", "<s>", "<|endoftext|>")


def special_tokens(
    tokens: Sequence[str], types: Sequence[int], known_fills: Sequence[str], model_name: str
) -> list[SpecialToken]:
    """The tokens that are matched in texts.

    Parameters
    ----------
    tokens, types
        Tokens and their types in the file, one per id.
    known_fills
        The members of `FILL_KEYS` that the file has.
    model_name
        `general.name`, by which llama.cpp recognises models whose tokens drop the space after them.

    Raises
    ------
    KCircuitsError
        If tokens can overlap in a text, or the tokens are ambiguous.
    """
    control, found = _classes(tokens, types, known_fills)
    strips = _strips_right(model_name, tokens)
    made = [
        SpecialToken(text, text in control, strips and text not in _KEPT_SPACE_AFTER)
        for text in tokens
        if text in found
    ]
    absent = [text for text in ("</s>", *_KEPT_SPACE_AFTER) if text not in tokens]
    if strips and absent:
        raise KCircuitsError(f"the file is named Phi-3, but lacks the token {quote(absent[0])} of Phi-3")
    _check_overlaps([token.text for token in made])
    if strips:
        _check_stripping(made)
    return made


def _classes(
    tokens: Sequence[str], types: Sequence[int], known_fills: Sequence[str]
) -> tuple[set[str], set[str]]:
    """Control tokens, and all tokens that are matched in texts."""
    by_type: dict[int, set[str]] = defaultdict(set)
    for text, kind in zip(tokens, types, strict=True):
        by_type[kind].add(text)
    there = set(tokens)
    control = by_type[TokenType.CONTROL] | by_type[TokenType.UNKNOWN]
    shown_always = set(by_type[TokenType.USER_DEFINED])
    control |= there.intersection(_ENDS.split())
    for keys, texts in _FILLS.items():
        if not any(f"{key}_token_id" in known_fills for key in keys.split()):
            control |= _fills_of(texts.split(), there, control | shown_always)
    shown_always |= there.intersection(_ALWAYS_SHOWN)
    control -= there.intersection(_ALWAYS_SHOWN)
    calls = {"<|call|>", "<|calls|>"} & there
    if "<|end|>" in there and calls and {"<|return|>", "<|flush|>"} & there:
        control.discard("<|end|>")
        shown_always.add("<|end|>")
    if {"<|tool_response>", "</s>"} <= there:
        control.discard("</s>")
        shown_always.discard("</s>")
    return control, control | shown_always


def _fills_of(texts: Sequence[str], there: set[str], found: set[str]) -> set[str]:
    present = there.intersection(texts)
    if len(present) > 1 and present - found:
        # llama.cpp uses the first one in an order that depends on its implementation.
        raise KCircuitsError(
            f"the file's tokenizer has several tokens of one meaning, {quote(sorted(present))}, and does not "
            "say which is a special one; give prompts as token ids"
        )
    return present


def _strips_right(model_name: str, tokens: Sequence[str]) -> bool:
    name = model_name.lower()
    if "modern-bert" in name and "[MASK]" in tokens:
        raise KCircuitsError("ModernBERT's tokenizer is not supported; give prompts as token ids")
    return "phi-3" in name or "phi3" in name


def _check_overlaps(texts: Sequence[str]) -> None:
    """Raise KCircuitsError if there is a text in which the longest token does not begin first.

    This happens if a token begins inside another one that is not longer, unless a still longer one begins
    where the other one does (as with runs of spaces).
    """
    present = set(texts)
    starting_with: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        for stop in range(1, len(text) + 1):
            starting_with[text[:stop]].append(text)
    for first in texts:
        for start in range(1, len(first)):
            for second in starting_with.get(first[start:], ()):
                whole = first[:start] + second
                if _size(second) < _size(first) or second == first:
                    continue
                if not any(whole[:stop] in present for stop in range(len(first) + 1, len(whole) + 1)):
                    raise KCircuitsError(
                        f"the file's special tokens {quote(first)} and {quote(second)} can overlap in "
                        "a text; give prompts as token ids"
                    )


def _size(text: str) -> int:
    return len(text.encode())


def _check_stripping(tokens: Sequence[SpecialToken]) -> None:
    """Raise KCircuitsError if the text before white space does not determine whether it is dropped."""
    texts = [token.text for token in tokens]
    for text in texts:
        if any(character in " ▁\t\n\v\f\r" for character in text):
            raise KCircuitsError(f"the special token {quote(text)} has white space, which others drop")
        for other in texts:
            overlaps = any(text.endswith(other[:stop]) for stop in range(1, len(other)))
            if overlaps or (other in text and other != text):
                raise KCircuitsError(
                    f"the special tokens {quote(text)} and {quote(other)} can overlap in a text"
                )
