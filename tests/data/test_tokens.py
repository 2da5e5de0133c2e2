"""Text to ids: what is put in front of prompts, how answers are read, where subjects are."""

from __future__ import annotations

import pytest

from kcircuits.data.tokens import AnswerError, answer_id, subject_span, tokenise_text
from kcircuits.errors import KCircuitsError
from tests.data.tiny_tokenizers import metaspace_tokenizer, word_tokenizer

WORDS = "The language of France New York is French 1 + 2 = Oman Romania"
PIECES = "▁The ▁language ▁of ▁France ▁New ▁York ▁is ▁French ▁French! ▁1 + ="
TOKENIZERS = {"words": word_tokenizer, "metaspace": metaspace_tokenizer}


def words_of(tokenizer, ids):
    return [token.strip("▁") for token in tokenizer.convert_ids_to_tokens(list(ids))]


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("bos", [False, True])
def test_prompts_get_bos_and_answers_do_not(kind, bos):
    tokenizer = TOKENIZERS[kind]({"words": WORDS, "metaspace": PIECES}[kind], bos=bos)
    prompt = tokenise_text(tokenizer, "The language of France is", "clean")
    assert words_of(tokenizer, prompt.ids) == ["<s>"] * bos + ["The", "language", "of", "France", "is"]
    assert words_of(tokenizer, prompt.text_ids) == ["The", "language", "of", "France", "is"]
    assert words_of(tokenizer, [answer_id(tokenizer, prompt, "French", "answer")]) == ["French"]


@pytest.mark.parametrize("bos", [False, True])
def test_an_appended_eos_is_left_out(bos):
    tokenizer = word_tokenizer(WORDS, bos=bos, eos=True)
    assert tokenizer("The language").input_ids[-1] == tokenizer.eos_token_id
    assert words_of(tokenizer, tokenise_text(tokenizer, "The language", "clean").ids)[-1] == "language"


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        ("The language of France is", "French", "▁French"),
        ("The language of France is", " French", "▁French"),
        ("The language of France is ", "French", "▁French"),
        ("1+1=", "2", "2"),  # with a space it would be the word mark and the digit
        ("1+1=", "French", "▁French"),
    ],
)
def test_answers_are_continuations(prompt, answer, expected):
    tokenizer = metaspace_tokenizer(PIECES)
    tokens = tokenise_text(tokenizer, prompt, "clean")
    assert tokenizer.convert_ids_to_tokens(answer_id(tokenizer, tokens, answer, "answer")) == expected


@pytest.mark.parametrize(
    ("prompt", "answer", "count", "first"),
    [
        ("The language of France is", "New York", 2, "▁New"),
        ("The language of France is", "Z", 2, "▁"),  # the bare letter would glue to "is"
        ("The language of France is", "5", 2, "▁"),
        ("The language of France is", "French ", 2, "▁French"),
    ],
)
def test_answer_of_several_tokens(prompt, answer, count, first):
    tokenizer = metaspace_tokenizer(PIECES)
    tokens = tokenise_text(tokenizer, prompt, "clean")
    with pytest.raises(AnswerError, match=rf"{answer}' is {count} tokens.*allow_multi_token.*--first-token"):
        answer_id(tokenizer, tokens, answer, "answer")
    token = answer_id(tokenizer, tokens, answer, "answer", allow_multi_token=True)
    assert tokenizer.convert_ids_to_tokens(token) == first


def test_an_answer_outside_the_vocabulary_is_refused():
    tokenizer = word_tokenizer(WORDS)
    tokens = tokenise_text(tokenizer, "The language of France is", "clean")
    with pytest.raises(AnswerError, match="answer 'Klingon' is not in the tokenizer's vocabulary"):
        answer_id(tokenizer, tokens, "Klingon", "answer")


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize(
    ("text", "subject", "span"),
    [
        ("The language of France is", "France", (3, 4)),
        ("France is", "France", (0, 1)),
        ("The language of New York is", "New York", (3, 5)),
        ("The language of France is", " France ", (3, 4)),
        ("The language of France is", (4, 12), (1, 2)),
        ("France is French France is", "France", (3, 4)),
    ],
)
def test_subject_spans(kind, bos, text, subject, span):
    tokenizer = TOKENIZERS[kind]({"words": WORDS, "metaspace": PIECES}[kind], bos=bos)
    prompt = tokenise_text(tokenizer, text, "clean")
    assert subject_span(tokenizer, prompt, subject) == (span[0] + bos, span[1] + bos)


def test_a_whole_word_comes_before_a_later_part_of_a_word():
    tokenizer = word_tokenizer(WORDS.replace("Romania", "Omani"))
    prompt = tokenise_text(tokenizer, "Oman is Omani", "clean")
    assert subject_span(tokenizer, prompt, "Oman") == (0, 1)
    assert subject_span(tokenizer, prompt, "mani") == (2, 3)


def test_a_subject_needs_offsets():
    class Slow:
        is_fast = False

    tokens = tokenise_text(word_tokenizer(WORDS), "France is", "clean")
    with pytest.raises(KCircuitsError, match="fast tokenizer"):
        subject_span(Slow(), tokens, "France")
