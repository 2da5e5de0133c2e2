"""Convert text to token ids: prompts with special tokens, answers as continuations, subjects as spans."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kcircuits.errors import KCircuitsError

SEVERAL_TOKENS = "answer of several tokens"
UNKNOWN = "answer not in the vocabulary"


class AnswerError(KCircuitsError):
    """Raised if an answer cannot be used; `reason` is the short name under which such samples are counted."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class TokenisedText:
    """A prompt's text and its tokens.

    `ids` begin with the special tokens that the tokenizer adds (BOS, if it has one); the last `num_text_ids`
    ids are those of the text.
    """

    text: str
    ids: tuple[int, ...]
    num_text_ids: int

    @property
    def text_ids(self) -> tuple[int, ...]:
        """The ids without the special tokens before the text."""
        return self.ids[len(self.ids) - self.num_text_ids :]


def tokenise_text(tokenizer: Any, text: str, name: str) -> TokenisedText:
    """Tokenise a prompt with the special tokens before it, but without any after it.

    A tokenizer may append a special token (EOS). It is left out, because the answer is predicted at the last
    position.

    Parameters
    ----------
    tokenizer
        Hugging Face tokenizer.
    text
        The prompt.
    name
        Name in error messages: "clean" or "corrupt".

    Raises
    ------
    KCircuitsError
        If the text is blank or not Unicode text.
    """
    if not text.strip():
        raise KCircuitsError(f"{name!r} is empty; write the prompt that the model should continue")
    own = _ids(tokenizer, text, special=False)
    if not own:
        raise KCircuitsError(f"{name!r} has no tokens in this tokenizer: {text!r}")
    whole = _ids(tokenizer, text, special=True)
    for start in range(len(whole) - len(own) + 1):
        if whole[start : start + len(own)] == own:
            return TokenisedText(text, whole[: start + len(own)], len(own))
    raise KCircuitsError(
        f"the tokenizer splits {name!r} differently when it adds special tokens; give the prompt as ids"
    )


def ends_in_loose_space(tokenizer: Any, prompt: TokenisedText, following: str) -> bool:
    """Whether the space at a text's end would be part of the token of the next word, `following`."""
    word = following.strip()
    if not prompt.text.endswith(" ") or not word:
        return False
    return _ids(tokenizer, prompt.text + word, special=False)[: prompt.num_text_ids] != prompt.text_ids


def repeats_special(prompt: TokenisedText) -> bool:
    """Whether a text begins with the special token that the tokenizer also added before it."""
    special = prompt.ids[: len(prompt.ids) - prompt.num_text_ids]
    return bool(special) and special[-1] == prompt.text_ids[0]


def answer_id(
    tokenizer: Any, prompt: TokenisedText, answer: str, name: str, *, allow_multi_token: bool = False
) -> int:
    """The token that continues the prompt with the answer.

    An answer continues the prompt with a new word: if neither the prompt ends nor the answer begins with a
    space, one is inserted. If the result is not one token, the answer is tokenised as written (scripts
    without spaces, "2" after "1+1="), unless it would extend a word or number at the end of the prompt. No
    BOS is added.

    Parameters
    ----------
    tokenizer
        Hugging Face tokenizer.
    prompt
        The prompt.
    answer
        The answer's text.
    name
        Name in error messages: "answer" or "wrong".
    allow_multi_token
        Use the first token of an answer that has several.

    Raises
    ------
    AnswerError
        If the answer has several tokens and that is not allowed, or is not in the tokenizer's vocabulary.
    KCircuitsError
        If the answer is blank or not Unicode text.
    """
    ids = answer_ids(tokenizer, prompt, answer, name)
    if len(ids) > 1 and not allow_multi_token:
        raise AnswerError(
            f"{name} {answer!r} is {len(ids)} tokens, first is {tokenizer.decode([ids[0]])!r} (id {ids[0]}); "
            "allow_multi_token=True (--first-token) uses that one",
            SEVERAL_TOKENS,
        )
    return ids[0]


def answer_ids(tokenizer: Any, prompt: TokenisedText, answer: str, name: str) -> tuple[int, ...]:
    """All tokens of an answer after the prompt; one token if `answer_id` finds one.

    Parameters are those of `answer_id`.

    Raises
    ------
    AnswerError
        If the answer is not in the tokenizer's vocabulary.
    KCircuitsError
        If the answer is blank or not Unicode text.
    """
    if not answer.strip():
        raise KCircuitsError(f"{name!r} is empty")
    readings = [_continuation(tokenizer, prompt, text) for text in _readings(prompt.text, answer)]
    ids = next((ids for ids in readings if len(ids) == 1), readings[0])
    if not ids or ids[0] == tokenizer.unk_token_id:
        raise AnswerError(f"{name} {answer!r} is not in the tokenizer's vocabulary", UNKNOWN)
    return ids


def subject_span(tokenizer: Any, prompt: TokenisedText, subject: str | tuple[int, int]) -> tuple[int, int]:
    """The tokens [start, stop) of the prompt that cover the subject.

    Parameters
    ----------
    tokenizer
        A fast Hugging Face tokenizer, which knows the characters of every token.
    prompt
        The prompt that contains the subject.
    subject
        Its characters [start, stop), or its text. A text means its last occurrence as a whole word (the
        question comes last in a prompt with examples), otherwise its last occurrence.

    Raises
    ------
    KCircuitsError
        If the prompt's text does not contain the subject, or the tokenizer is not a fast one.
    """
    start, stop = _find(prompt.text, subject) if isinstance(subject, str) else subject
    # A token may cover the space before its word.
    covering = [
        index
        for index, (first, last) in enumerate(character_spans(tokenizer, prompt))
        if first < stop and last > start and first < last
    ]
    if not covering:
        raise KCircuitsError(f"no token of the tokenizer covers the subject {prompt.text[start:stop]!r}")
    return covering[0], covering[-1] + 1


def character_spans(tokenizer: Any, prompt: TokenisedText) -> list[tuple[int, int]]:
    """The characters [first, last) of the text that each token covers; none for special tokens.

    Raises KCircuitsError if the tokenizer is not a fast one.
    """
    if not tokenizer.is_fast:
        raise KCircuitsError(
            f"a subject needs a fast tokenizer (tokenizer.json); {type(tokenizer).__name__} has no offsets"
        )
    offsets = tokenizer(prompt.text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return [(first, last) for first, last in offsets[: len(prompt.ids)]]


def _find(text: str, subject: str) -> tuple[int, int]:
    wanted = subject.strip()
    if not wanted:
        raise KCircuitsError("'subject' is empty")
    words = [match.start() for match in re.finditer(rf"(?<!\w){re.escape(wanted)}(?!\w)", text)]
    start = words[-1] if words else text.rfind(wanted)
    if start < 0:
        raise KCircuitsError(f"subject {wanted!r} does not occur in the clean prompt {text!r}")
    return start, start + len(wanted)


def _readings(prompt: str, answer: str) -> list[str]:
    if answer[0].isspace() or prompt[-1].isspace():
        return [answer]
    glued = _needs_space(prompt[-1]) and _needs_space(answer[0])
    return [f" {answer}"] if glued else [f" {answer}", answer]


def _needs_space(character: str) -> bool:
    """True for digits and for letters with upper and lower case, whose scripts put spaces between words."""
    return character.isdigit() or character.lower() != character.upper()


def _continuation(tokenizer: Any, prompt: TokenisedText, answer: str) -> tuple[int, ...]:
    """The tokens of the answer after the prompt.

    Both are tokenised together, because SentencePiece adds a word mark before the first text. If the answer
    merges with the end of the prompt (a trailing space, say), it is tokenised alone.
    """
    joint = _ids(tokenizer, prompt.text + answer, special=False)
    if joint[: prompt.num_text_ids] == prompt.text_ids:
        return joint[prompt.num_text_ids :]
    return _ids(tokenizer, answer, special=False)


def _ids(tokenizer: Any, text: str, *, special: bool) -> tuple[int, ...]:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise KCircuitsError(f"{text!r} is not Unicode text: it has an unpaired surrogate") from None
    # verbose: Transformers warns about long texts, which are checked against the model instead.
    return tuple(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
