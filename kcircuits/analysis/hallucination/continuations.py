"""Words that continue a sentence without answering: after "is spoken in", " both" is not a wrong country."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from kcircuits.data.prompts import Prompt

_WORDS = """
a an the this that these those there here it its his her their our your my one he she they we you who
which what where when and or but nor so yet as if than then because while although though of in on at by
for from to into onto with within without about over under between among through during before after
near up down out off is are was were be been being am has have had do does did can could will would
shall should may might must not no also only just still even very much many most more some any all both
each every either neither such same other another several now often usually known called named located
used made based
"""
FUNCTION_WORDS = frozenset(_WORDS.split())
"""English words that begin or continue a phrase and name nothing."""


def is_continuation(word: str) -> bool:
    """Whether a token's text is a function word, or has no letter or digit at all.

    Examples
    --------
    >>> is_continuation(" both"), is_continuation("\\n"), is_continuation(" Spanish")
    (True, True, False)
    """
    text = word.strip().lower()
    return text in FUNCTION_WORDS or not any(character.isalnum() for character in text)


def separate_continuations(
    tokenizer: Any | None, prompts: Sequence[Prompt], given: Sequence[bool]
) -> tuple[list[Prompt], Counter[str]]:
    """Prompts whose wrong answer is a real answer, and counts of the words that only continue the sentence.

    Parameters
    ----------
    tokenizer
        The model's tokenizer. Without one, all prompts are kept.
    prompts
        Prompts with `wrong_id`, at least where `given` is false.
    given
        For each prompt, whether it came with its wrong answer. Such an answer always counts as one.
    """
    kept, words = [], Counter[str]()
    for prompt, own in zip(prompts, given, strict=True):
        word = "" if tokenizer is None or own else str(tokenizer.decode([prompt.wrong_id]))
        if word and is_continuation(word):
            words[word] += 1
        else:
            kept.append(prompt)
    return kept, words
