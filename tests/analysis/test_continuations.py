"""Words that go on with a sentence are no wrong answers."""

from __future__ import annotations

from kcircuits.analysis.hallucination.continuations import is_continuation, separate_continuations
from kcircuits.data.prompts import Prompt
from tests.data.tiny_tokenizers import word_tokenizer

TOKENIZER = word_tokenizer("both the Spanish French , Both")
BOTH, THE, SPANISH, FRENCH, COMMA, CAPITAL = (
    TOKENIZER.convert_tokens_to_ids(word) for word in ("both", "the", "Spanish", "French", ",", "Both")
)


def test_words():
    assert all(map(is_continuation, (" both", "The", " a", ",", "\n", ' "')))
    assert not any(map(is_continuation, (" Spanish", "7", " 中国", " Theodore", " Us")))


def test_only_the_model_s_own_choices_are_told_apart():
    wrong = (BOTH, SPANISH, THE, BOTH, COMMA, CAPITAL, THE)
    prompts = [Prompt((3, 4), FRENCH, wrong_id=token) for token in wrong]
    kept, words = separate_continuations(TOKENIZER, prompts, [False] * 6 + [True])
    assert kept == [prompts[1], prompts[6]]
    assert words == {"both": 2, "the": 1, ",": 1, "Both": 1}
    assert separate_continuations(None, prompts, [False] * 7) == (prompts, {})
