"""Questions with examples: what they are made of, and which token is what."""

from __future__ import annotations

import pytest

from kcircuits.data.few_shot import few_shot_pairs
from kcircuits.data.lre import parse_relation
from kcircuits.data.relations import relation_prompts
from kcircuits.errors import KCircuitsError
from tests.data.tiny_tokenizers import metaspace_tokenizer, word_tokenizer

FACTS = {"France": "French", "Spain": "Spanish", "Italy": "Italian", "Austria": "German", "Germany": "German"}
RELATION = parse_relation(
    {
        "name": "language",
        "prompt_templates": ["In {} they speak"],
        "samples": [{"subject": subject, "object": answer} for subject, answer in FACTS.items()],
    }
)
WORDS = "In they speak " + " ".join([*FACTS, *FACTS.values()])
BOUNDS = {"vocab_size": 200, "max_positions": 64}


def pairs_of(tokenizer, **options):
    return few_shot_pairs(RELATION, tokenizer, **BOUNDS, **{"shots": 2} | options)


def test_texts_and_answers():
    tokenizer = word_tokenizer(WORDS)
    pairs = pairs_of(tokenizer)
    assert [pair.zero_shot for pair in pairs] == list(relation_prompts(RELATION, tokenizer, **BOUNDS).prompts)
    for pair, (subject, answer) in zip(pairs, FACTS.items(), strict=True):
        *examples, query = pair.few_shot.text.split("\n")
        assert query == pair.zero_shot.text == f"In {subject} they speak"
        assert pair.few_shot.answer_id == pair.zero_shot.answer_id
        assert len(examples) == 2
        for example in examples:
            words = example.split()
            assert words[-1] == FACTS[words[1]] != answer
        first, end = pair.few_shot.subject
        assert tokenizer.decode(list(pair.few_shot.clean_ids[first:end])) == subject
        assert first == len(pair.few_shot.clean_ids) - 3


@pytest.mark.parametrize("bos", [True, False])
def test_parts_of_tokens(bos):
    pair = pairs_of(word_tokenizer(WORDS, bos=bos), shots=1)[0]
    # This tokenizer has no token for the end of a line.
    expected = ("start",) + ("example",) * (3 + bos) + ("object",) + ("query",) * 4
    assert pair.parts == expected


def test_a_separator_may_be_a_token():
    tokenizer = metaspace_tokenizer(" ".join(f"▁{word}" for word in WORDS.split()), bos=True)
    tokenizer.add_tokens("\n")
    pair = pairs_of(tokenizer, shots=2)[0]
    assert len(pair.parts) == len(pair.few_shot.clean_ids)
    assert pair.parts.count("separator") == 2
    objects = [t for t, part in zip(pair.few_shot.clean_ids, pair.parts, strict=True) if part == "object"]
    words = [line.split()[-1] for line in pair.few_shot.text.split("\n")[:2]]
    assert tokenizer.decode(objects).split() == words


def test_examples_depend_on_seed_and_subject_alone():
    tokenizer = word_tokenizer(WORDS)
    texts = {pair.zero_shot.text: pair.few_shot.text for pair in pairs_of(tokenizer)}
    shuffled = pairs_of(tokenizer, shuffle_seed=3, limit=2)
    assert all(texts[pair.zero_shot.text] == pair.few_shot.text for pair in shuffled)
    assert texts != {pair.zero_shot.text: pair.few_shot.text for pair in pairs_of(tokenizer, seed=1)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": 0}, "shots must be at least 1"),
        ({"shots": 4}, "shots is 4, .* has only 3 other facts that share no object with 'Austria'"),
        ({"template": 1}, "got 1"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"max_positions": 10}, "14 tokens, but the model has 10 positions"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(KCircuitsError, match=message):
        few_shot_pairs(RELATION, word_tokenizer(WORDS), **BOUNDS | {"shots": 2} | options)
