"""Merging by scores as a list of merges: the same ids as llama.cpp, or refused."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.model.gguf.sentencepiece import merges_by_score
from kcircuits.model.gguf.tokenizer import read_gguf_tokenizer
from tests.model.gguf import llama_cpp
from tests.model.gguf.vocabularies import by_score, take_from, write_header


def merged_by_score(text: str, scores: Mapping[str, float]) -> list[str]:
    """The definition: join the neighbours of the highest score, the leftmost first."""
    parts = list(text)
    while True:
        joined = [(scores.get(left + right), -place) for place, (left, right) in enumerate(pairwise(parts))]
        possible = [(score, place) for score, place in joined if score is not None]
        if not possible:
            return parts
        place = -max(possible)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


def merged_by_list(text: str, merges: list[tuple[str, str]]) -> list[str]:
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    parts = list(text)
    while True:
        possible = [(ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not possible:
            return parts
        place = min(possible)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


def random_scores(source: random.Random) -> dict[str, float]:
    """Tokens over a few letters, most of them made of others; some or many with equal scores."""
    letters = "abc▁"[: source.randint(1, 4)]
    tokens = dict.fromkeys(letters)
    for _ in range(source.choice((4, 10, 30))):
        made = source.choice(list(tokens)) + source.choice(list(tokens))
        if len(made) <= 12:
            tokens[made] = None
    order = sorted(tokens, key=len) if source.random() < 0.6 else source.sample(list(tokens), len(tokens))
    scores = {token: -float(place) for place, token in enumerate(order)}
    first = source.randrange(len(order))
    for token in order[first : first + source.choice((0, 0, 2, 3, len(order)))]:
        scores[token] = -float(first)
    return scores


def test_random_vocabularies():
    source, accepted = random.Random(3), 0
    for _ in range(1500):
        scores = random_scores(source)
        try:
            merges = merges_by_score(scores)
        except KCircuitsError:
            assert len(set(scores.values())) < len(scores)
            continue
        accepted += 1
        for _ in range(8):
            text = "".join(source.choice("abc▁"[: len(scores)]) for _ in range(source.randint(1, 24)))
            assert merged_by_list(text, merges) == merged_by_score(text, scores), (scores, text)
    assert accepted > 1000


@pytest.mark.parametrize(
    ("scores", "merges"),
    [
        (
            {"a": 0, "b": 0, "ab": -1, "aab": -3, "aa": -2},
            [("a", "b"), ("a", "a"), ("a", "ab")],
        ),  # never of aa and b
        ({"a": 0, "aa": -1, "aaa": -2}, [("a", "a"), ("aa", "a")]),
        ({"a": 0, "b": 0, "abab": -1}, []),  # nothing leads to it
        # A run grows before another begins.
        ({"a": 0, "aa": -9, "aaa": -9}, [("aa", "a"), ("a", "a")]),
    ],
)
def test_merges(scores, merges):
    assert merges_by_score(scores) == merges


def test_runs_of_spaces_with_one_score():
    """As in LLaMA's and Mistral's vocabularies, which have 2 to 14 and 16 of them."""
    scores = {"▁" * length: -1e9 for length in (*range(2, 15), 16)} | {"▁": -1.0}
    merges = merges_by_score(scores)
    for length in range(70):
        text = "▁" * length
        assert merged_by_list(text, merges) == merged_by_score(text, scores)


@pytest.mark.parametrize(
    "scores",
    [
        {"a": 0, "b": 0, "ab": -1, "ba": -1},  # abab and baba
        {"a": 0, "b": 0, "ab": -2, "bb": -2, "abb": -1},
        dict.fromkeys([f"{first}{second}" for first in "abcdefgh" for second in "abcdefgh"], 0)
        | dict.fromkeys("abcdefgh", 0),
    ],
)
def test_equal_scores_that_compete_are_refused(scores):
    with pytest.raises(KCircuitsError, match="same score"):
        merges_by_score(scores)


def test_a_character_that_is_no_token_is_refused():
    with pytest.raises(KCircuitsError, match="'b' of the token 'ab'"):
        merges_by_score({"a": 0, "ab": -1})
    assert merges_by_score({"a": 0, "ab": -1}, special=["ab"]) == []


@llama_cpp.needed
def test_ids_are_llama_cpp_s(tmp_path: Path):
    source, compared = random.Random(5), 0
    for number in range(60):
        header = by_score(random_scores(source))
        try:
            ours = read_gguf_tokenizer(take_from(header))
        except KCircuitsError:
            continue
        assert ours is not None
        with llama_cpp.Vocabulary(write_header(tmp_path / f"{number}.gguf", header)) as theirs:
            for _ in range(20):
                text = "".join(source.choice("abc é▁") for _ in range(source.randint(0, 24)))
                assert ours(text)["input_ids"] == theirs.tokenize(text, add_special=True), text
                compared += 1
    assert compared > 600
