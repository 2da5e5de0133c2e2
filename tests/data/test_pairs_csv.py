"""CSV files of prompt pairs, as EAP-IG has them."""

from __future__ import annotations

import pytest

from kcircuits.data.prompts import Prompt, read_prompts
from kcircuits.errors import KCircuitsError
from tests.data.tiny_tokenizers import word_tokenizer

TOKENIZER = word_tokenizer("The language of France Spain is French Spanish , now", bos=True)
BOUNDS = {"vocab_size": 20, "max_positions": 9}


def ids_of(words: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.convert_tokens_to_ids(words.split()))


FRENCH, SPANISH = ids_of("French Spanish")
PAIR = Prompt(
    ids_of("<s> The language of France is"),
    FRENCH,
    ids_of("<s> The language of Spain is"),
    SPANISH,
    text="The language of France is",
)


def read(tmp_path, text: str):
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return read_prompts(path, TOKENIZER, **BOUNDS)


@pytest.mark.parametrize(
    "columns",
    [
        "correct_idx,incorrect_idx",
        "country_idx,corrupted_country_idx",
        "clean_answer_idx,corrupted_answer_idx",
    ],
)
def test_texts_with_ids_of_the_answers(tmp_path, columns):
    row = f"{FRENCH},{SPANISH},The language of France is,0,The language of Spain is"
    assert read(tmp_path, f"{columns},clean,,corrupted\n{row}\n") == (PAIR,)


def test_answers_as_text_and_quoted_commas(tmp_path):
    text = 'clean,corrupt,answer,wrong,subject\n"The language, now, of France",,French,Spanish,France\n\n'
    (prompt,) = read(tmp_path, text)
    assert prompt.clean_ids == ids_of("<s> The language , now , of France")
    assert (prompt.answer_id, prompt.wrong_id, prompt.corrupt_ids) == (FRENCH, SPANISH, None)
    assert prompt.subject == (7, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clean,corrupted,correct_idx\na,b,57\n", "line 1: 'correct_idx' without 'incorrect_idx' is a year"),
        (
            "clean,corrupted,label\na,b,57\n",
            "line 1: no column says what the answer is; .* got clean, corrupted",
        ),
        ("clean,corrupted,corrupt,answer\na,b,c,d\n", "several columns for one thing"),
        ("clean,answer,answer\na,b,c\n", "two columns have the same name"),
        ("clean,answer\nThe language,French,Spanish\n", "line 2: the row does not have 2 cells"),
        ("clean,answer_id,wrong_id\nThe,x,1\n", "line 2: 'answer_id' must be a token id, got 'x'"),
        ("clean,answer_id,wrong_id\nThe,99,1\n", "line 2: id 99 is not in the model's vocabulary"),
        ("clean,answer\nThe,French\n,French\n", "line 3: 'clean' is empty"),
        ('clean,answer\n"The,French\n', "not CSV"),
        ("clean,answer\n", "has no prompts"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(KCircuitsError, match=message) as error:
        read(tmp_path, text)
    assert "pairs.csv" in str(error.value) and "\n" not in str(error.value)
