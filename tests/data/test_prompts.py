"""Reading prompt files, and batching."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.data.prompts import Prompt, batch, make_prompts, read_prompts, tokenise
from kcircuits.errors import KCircuitsError
from tests.data.tiny_tokenizers import word_tokenizer
from tests.shared import shared_path

TOKENIZER = word_tokenizer("The language of France Spain New Zealand is French Spanish", bos=True)
BOUNDS = {"vocab_size": 20, "max_positions": 8}
TEXT = {"clean": "The language of France is", "answer": "French"}
IDS = {"clean_ids": [4, 5, 6], "answer_id": 7}


def ids_of(words):
    return tuple(TOKENIZER.convert_tokens_to_ids(words.split()))


def write(folder, *lines):
    path = folder / "prompts.jsonl"
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8"
    )
    return path


def test_both_forms_in_one_file(tmp_path):
    text = TEXT | {"corrupt": "The language of Spain is", "wrong": "Spanish", "subject": "France"}
    ids = IDS | {"corrupt_ids": [7, 8, 9], "wrong_id": 3}
    path = write(tmp_path, text, "", ids, IDS | {"wrong_id": None}, "")
    first, second, third = read_prompts(path, TOKENIZER, **BOUNDS)
    assert first == Prompt(
        clean_ids=ids_of("<s> The language of France is"),
        answer_id=ids_of("French")[0],
        corrupt_ids=ids_of("<s> The language of Spain is"),
        wrong_id=ids_of("Spanish")[0],
        text="The language of France is",
        subject=(4, 5),
    )
    assert second == Prompt((4, 5, 6), 7, corrupt_ids=(7, 8, 9), wrong_id=3)
    assert third == Prompt((4, 5, 6), 7)


def test_ids_need_no_tokenizer_and_windows_line_ends_are_fine(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(IDS).encode() + b"\r\n\r\n" + json.dumps(IDS).encode() + b"\r\n"
    )
    assert read_prompts(path, None, **BOUNDS) == (Prompt((4, 5, 6), 7),) * 2


def test_a_json_list_and_objects_over_several_lines(tmp_path):
    for content in (json.dumps([IDS, IDS]), json.dumps([IDS, IDS], indent=1), json.dumps(IDS, indent=1) * 2):
        assert read_prompts(write(tmp_path, content), None, **BOUNDS) == (Prompt((4, 5, 6), 7),) * 2
    with pytest.raises(KCircuitsError, match=r"prompts\.jsonl, record 2: 'clean' is missing"):
        read_prompts(write(tmp_path, json.dumps([IDS, {}])), None, **BOUNDS)


def test_rome_s_known_facts(tmp_path):
    fact = {"known_id": 0, "subject": "France", "attribute": "French", "template": "The language of {} is",
            "prediction": " French", "prompt": "The language of France is", "relation_id": "P37"}  # fmt: skip
    (prompt,) = read_prompts(write(tmp_path, json.dumps([fact])), TOKENIZER, **BOUNDS)
    assert prompt.clean_ids == ids_of("<s> The language of France is")
    assert ((prompt.answer_id,), prompt.subject) == (ids_of("French"), (4, 5))


def test_line_separators_inside_texts_do_not_end_a_line(tmp_path):
    line = json.dumps(TEXT | {"clean": "The language of France\u2028is"}, ensure_ascii=False)
    (prompt,) = read_prompts(write(tmp_path, line), TOKENIZER, **BOUNDS)
    assert prompt.clean_ids == ids_of("<s> The language of France is")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ('{"answer_id": 1' + "0" * 5000 + "}", "not a file of prompts: Exceeds the limit"),
        ("[" * 100_000, "not a file of prompts: the JSON is nested too deeply"),
        ("[1]", r"expected a JSON object .* got \[1\]"),
        ("null", "expected a JSON object .* got None"),
        ({"clean": "The"}, "'answer' is missing"),
        ({"answer": "French"}, "'clean' is missing"),
        ({"clean_ids": [4]}, "'answer_id' is missing"),
        ({"clean_ids": None, "answer_id": 3}, "'clean_ids' is missing"),
        ({}, "'clean' is missing"),
        (TEXT | {"target": "x"}, "unknown key 'target'; the keys are clean, corrupt, answer, wrong, subject"),
        (IDS | {"clean": "The"}, "unknown key 'clean'; the keys are clean_ids"),
        ({"prompt": "The", "answer": "x"}, "unknown key 'prompt'; .*: write 'clean' for 'prompt'"),
        (TEXT | {"corrupted": "The"}, "unknown key 'corrupted'; .*: write 'corrupt' for 'corrupted'"),
        ('{"clean": "The", "clean": "of", "answer": "x"}', "the key 'clean' occurs twice"),
        (TEXT | {"clean": 5}, "'clean' must be text, got 5"),
        (TEXT | {"wrong": ["Spanish"]}, "'wrong' must be text"),
        (IDS | {"answer_id": "7"}, "'answer_id' must be a token id, got '7'"),
        (IDS | {"answer_id": True}, "'answer_id' must be a token id, got True"),
        (IDS | {"clean_ids": "4 5 6"}, "'clean_ids' must be a list of ids"),
        (IDS | {"clean_ids": [4, 5.0]}, "'clean_ids' must be a list of ids"),
        (IDS | {"clean_ids": []}, "clean prompt has no tokens"),
        (IDS | {"clean_ids": [4, 20]}, "id 20 is not in the model's vocabulary, 0 to 19"),
        (IDS | {"answer_id": 99}, "id 99 is not in"),
        (IDS | {"wrong_id": -1}, "id -1 is not in"),
        (IDS | {"corrupt_ids": [4, 5, 77]}, "id 77 is not in"),
        (IDS | {"corrupt_ids": [4, 5]}, "clean prompt has 3 tokens and the corrupt one 2"),
        (IDS | {"corrupt_ids": []}, "clean prompt has 3 tokens and the corrupt one 0"),
        (IDS | {"wrong_id": 7}, "same token, 7"),
        (IDS | {"clean_ids": [4] * 9}, "9 tokens, but the model has 8 positions"),
        (TEXT | {"clean": " \n"}, "'clean' is empty"),
        (TEXT | {"corrupt": ""}, "'corrupt' is empty"),
        (TEXT | {"answer": ""}, "'answer' is empty"),
        (TEXT | {"answer": " "}, "'answer' is empty"),
        (TEXT | {"subject": ""}, "'subject' is empty"),
        (TEXT | {"clean": "The \ud800 is"}, "unpaired surrogate"),
        (TEXT | {"answer": "\ud800"}, "unpaired surrogate"),
        (TEXT | {"answer": "New Zealand"}, "answer 'New Zealand' is 2 tokens, first is 'New'"),
        (TEXT | {"wrong": "New Zealand"}, "wrong 'New Zealand' is 2 tokens, first is 'New'"),
        (TEXT | {"answer": "Klingon"}, "not in the tokenizer's vocabulary"),
        (TEXT | {"wrong": "French"}, "same token"),
        (TEXT | {"subject": "Spain"}, "subject 'Spain' does not occur in the clean prompt 'The language"),
        (TEXT | {"corrupt": "The language of New Zealand is"}, "has 6 tokens and the corrupt one 7"),
        (TEXT | {"clean": "The " * 8}, "9 tokens, but the model has 8 positions"),
    ],
)
def test_bad_lines(tmp_path, line, message):
    path = write(tmp_path, IDS, "", line)
    with pytest.raises(KCircuitsError, match=rf"{path}, line 3: .*{message}") as caught:
        read_prompts(path, TOKENIZER, **BOUNDS)
    assert "\n" not in str(caught.value)


def test_text_needs_a_tokenizer(tmp_path):
    with pytest.raises(KCircuitsError, match=r'line 1: this model has no tokenizer.*"clean_ids"'):
        read_prompts(write(tmp_path, TEXT), None, **BOUNDS)


def test_ids_of_the_tokenizer_may_be_outside_the_model(tmp_path):
    with pytest.raises(KCircuitsError, match="line 1: id 6 is not in the model's vocabulary, 0 to 5"):
        read_prompts(write(tmp_path, TEXT), TOKENIZER, vocab_size=6, max_positions=8)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_empty_file(tmp_path, content):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(KCircuitsError, match=f"{path} has no prompts"):
        read_prompts(path, None, **BOUNDS)


def test_unreadable_files(tmp_path):
    with pytest.raises(KCircuitsError, match=r"absent\.jsonl: cannot read the file of prompts: No such file"):
        read_prompts(tmp_path / "absent.jsonl", None, **BOUNDS)
    with pytest.raises(KCircuitsError, match=f"{tmp_path}: cannot read the file of prompts: Is a directory"):
        read_prompts(tmp_path, None, **BOUNDS)
    (tmp_path / "latin.jsonl").write_bytes(b'{"clean": "Caf\xe9"}')
    with pytest.raises(
        KCircuitsError,
        match=r"latin\.jsonl: not a file of prompts: the file is not UTF-8 text \(.* at byte 14\)",
    ):
        read_prompts(tmp_path / "latin.jsonl", None, **BOUNDS)


def test_first_tokens_where_allowed(tmp_path):
    path = write(tmp_path, TEXT | {"answer": "New Zealand", "wrong": "Spanish French"})
    (prompt,) = read_prompts(path, TOKENIZER, **BOUNDS, allow_multi_token=True)
    assert (prompt.answer_id, prompt.wrong_id) == ids_of("New Spanish")


@pytest.mark.parametrize("span", [(0, 0), (2, 4), (-1, 2), (2, 1)])
def test_a_subject_span_lies_inside_the_prompt(span):
    with pytest.raises(KCircuitsError, match="not a span of 3 tokens"):
        Prompt((1, 2, 3), 4, subject=span)


rows = st.lists(st.integers(0, 99), min_size=1, max_size=7).map(tuple)


@given(st.lists(rows, min_size=1, max_size=6), st.booleans(), st.booleans())
def test_a_batch_holds_the_prompts_at_its_right_end(clean, with_corrupt, with_wrong):
    prompts = [
        Prompt(
            ids,
            answer_id=200 + index,
            corrupt_ids=ids[::-1] if with_corrupt else None,
            wrong_id=100 + index if with_wrong else None,
        )
        for index, ids in enumerate(clean)
    ]
    made = batch(prompts)
    shape = (len(clean), max(map(len, clean)))
    assert made.clean.shape == shape and made.clean.dtype == torch.int64
    assert made.lengths.tolist() == [len(ids) for ids in clean] and made.lengths.dtype == torch.int64
    assert made.answers.tolist() == [prompt.answer_id for prompt in prompts]
    for index, ids in enumerate(clean):
        assert tuple(made.clean[index, -len(ids) :].tolist()) == ids
        assert not made.clean[index, : -len(ids)].any()
    if with_corrupt:
        assert made.corrupt is not None and made.corrupt.shape == shape
        assert [tuple(row[-len(ids) :].tolist()) for row, ids in zip(made.corrupt, clean, strict=True)] == [
            ids[::-1] for ids in clean
        ]
    else:
        assert made.corrupt is None
    assert (
        (made.wrong is None)
        if not with_wrong
        else made.wrong.tolist() == [prompt.wrong_id for prompt in prompts]
    )


def test_a_batch_needs_prompts():
    with pytest.raises(KCircuitsError, match="no prompts"):
        batch([])


@pytest.mark.parametrize(
    ("extra", "name"), [({"corrupt_ids": (3, 4)}, "corrupt prompt"), ({"wrong_id": 0}, "wrong answer")]
)
def test_corrupt_and_wrong_are_for_all_or_none(extra, name):
    with pytest.raises(KCircuitsError, match=f"1 of 3 prompts have a {name}, but prompt 2 has none"):
        batch([Prompt((1, 2), 5, **extra), Prompt((1, 2), 5), Prompt((1, 2), 5)])


@pytest.mark.slow
def test_the_demo_model_tokenises_as_the_golden_file_says(demo):
    (golden, *_) = json.loads(shared_path("golden", "smollm2", "acdc_golden.json").read_text())
    prompt = tokenise(
        demo.tokenizer,
        golden["prompt"],
        golden["answer"].strip(),
        subject="France",
        vocab_size=demo.spec.vocab_size,
        max_positions=demo.spec.max_positions,
    )
    assert list(prompt.clean_ids) == golden["clean_ids"] == [504, 5326, 1789, 282, 4649, 314]
    assert prompt.answer_id == golden["answer_id"] == 3432
    assert prompt.subject == (4, 5)


def test_the_answer_to_the_corrupt_prompt_is_the_wrong_one():
    pairs = [
        ("a b", "c", "b a"),
        ("b a", "d", "a b"),
        ("a a", "c", "b b"),  # whose answer is not known
        ("b", "d"),
        {"clean": "a b", "answer": "c", "corrupt": "b a"},  # says what it has
    ]
    made = make_prompts(pairs, word_tokenizer("a b c d"), **BOUNDS)
    c, d = made[0].answer_id, made[1].answer_id
    assert c != d
    assert [prompt.wrong_id for prompt in made] == [d, c, None, None, None]
    same = make_prompts([("a b", "c", "b a"), ("b a", "c", "a b")], word_tokenizer("a b c d"), **BOUNDS)
    assert [prompt.wrong_id for prompt in same] == [None, None]
