"""Prompts that a model reads otherwise than they were meant: one warning per kind, and none without cause."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kcircuits.data.lre import Fact, Relation
from kcircuits.data.prompt_warnings import PromptWarning
from kcircuits.data.prompts import read_prompts, tokenise
from kcircuits.data.relations import relation_prompts
from kcircuits.model.forward import forward
from tests.data.tiny_tokenizers import word_tokenizer

BOUNDS = {"vocab_size": 300, "max_positions": 64}


def byte_tokenizer(*words: str, digits: bool = False) -> PreTrainedTokenizerFast:
    """As GPT-2's: a token has the space in front of its word; with `digits`, each is a token of its own."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    spelt, merges = list(dict.fromkeys([*sorted(alphabet), "<s>"])), []
    for word in words:
        made = "Ġ"
        for letter in word:
            merges.append((made, letter))
            made += letter
            spelt.append(made)
    vocab = {token: index for index, token in enumerate(dict.fromkeys(spelt))}
    tokenizer = Tokenizer(models.BPE(vocab, list(dict.fromkeys(merges))))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.pre_tokenizer = split if digits else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


GLUED = byte_tokenizer("French", "Spanish", "is")
BEGUN = word_tokenizer("The language of France Spain is French Spanish", bos=True)


def messages(act) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        act()
    assert all(issubclass(each.category, PromptWarning) for each in seen)
    return [str(each.message) for each in seen]


@pytest.mark.parametrize("answer", [" French", "French"])
def test_a_space_that_belongs_to_the_next_word(answer):
    def asked(text):
        return lambda: tokenise(GLUED, text, answer, **BOUNDS, allow_multi_token=True)

    assert messages(asked("In France it is")) == []
    assert messages(asked("In France it is\n")) == []
    (message,) = messages(asked("In France it is "))
    assert message == (
        "the prompt 'In France it is ' ends in a space: tokenizers put the space in front of the next word, "
        "so leave it out"
    )


def test_a_space_that_is_a_token_of_its_own_is_right():
    tokenizer = byte_tokenizer("French", digits=True)
    assert messages(lambda: tokenise(tokenizer, "1 + 1 = ", "2", **BOUNDS)) == []
    kwargs = BOUNDS | {"allow_multi_token": True}
    assert len(messages(lambda: tokenise(tokenizer, "1 + 1 = ", "French", **kwargs))) == 1


def test_the_special_token_that_comes_by_itself():
    (message,) = messages(lambda: tokenise(BEGUN, "<s> The language of France is", "French", **BOUNDS))
    assert message.startswith("the prompt '<s> The language of France is' begins with a special token that")
    assert "leave it out" in message
    assert messages(lambda: tokenise(BEGUN, "The language of France is", "French", **BOUNDS)) == []
    without = word_tokenizer(
        "The language of France is French"
    )  # adds none, so the text's own is the only one
    assert messages(lambda: tokenise(without, "<s> The language is", "French", **BOUNDS)) == []


def test_one_warning_of_each_kind_for_a_file(tmp_path):
    records = [
        {"clean": "In Norway it is", "answer": "French"},
        {"clean": "In Norway it is ", "corrupt": "In Poland it is ", "answer": "French"},
        {"clean": "In Italia it is ", "corrupt": "In Poland it is ", "answer": "French"},
        {"clean": "In Canada it is ", "answer": "French"},
        {"clean_ids": [3, 4, 5], "answer_id": 6},
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    found = messages(lambda: read_prompts(file, GLUED, **BOUNDS, allow_multi_token=True))
    assert found == [
        "4 prompts end in a space: tokenizers put the space in front of the next word, so leave it out; "
        "the first is 'In Norway it is '"
    ]


def test_answers_given_as_ids(tmp_path):
    file = tmp_path / "pairs.csv"
    answer, wrong = (GLUED(text)["input_ids"][0] for text in (" French", " Spanish"))
    file.write_text(f"clean,corrupted,correct_idx,incorrect_idx\nIt is ,It is ,{answer},{wrong}\n")
    (message,) = messages(lambda: read_prompts(file, GLUED, **BOUNDS))
    assert message.startswith("the prompt 'It is ' ends in a space")


def test_a_template_is_one_warning_for_all_facts():
    facts = (Fact("France", ("French",)), Fact("Spain", ("Spanish",)))
    relation = Relation("language", ("<s> The language of {} is",), facts, {}, {})
    (message,) = messages(lambda: relation_prompts(relation, BEGUN, **BOUNDS))
    assert message.startswith("2 prompts begin with a special token") and message.endswith(
        "the first is '<s> The language of France is'"
    )


def test_a_warning_is_an_error_where_that_is_asked_for():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PromptWarning, match="ends in a space"):
            tokenise(GLUED, "It is ", "French", **BOUNDS, allow_multi_token=True)


def test_what_is_warned_of_costs_the_demo_its_answer(demo):
    """The numbers behind the warnings: the space takes the answer's probability to nearly nothing."""

    def probability(text):
        bounds = {"vocab_size": demo.spec.vocab_size, "max_positions": demo.spec.max_positions}
        prompt = tokenise(demo.tokenizer, text, " French", **bounds)
        ids = torch.tensor([prompt.clean_ids])
        with torch.no_grad():
            logits = forward(demo.spec, ids, torch.ones_like(ids, dtype=torch.bool))[0, -1]
        return float(logits.softmax(-1)[prompt.answer_id])

    text = "The official language of France is"
    assert messages(lambda: probability(text)) == []
    assert len(messages(lambda: probability(f"{text} "))) == 1
    with pytest.warns(PromptWarning):
        assert probability(f"{text} ") < 0.1 * probability(text)
