"""What edits are measured by, against plain sums."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from kcircuits.editing.edit import edit
from kcircuits.editing.fine_tuning import TuningOptions
from kcircuits.editing.measures import (
    harmonic_mean,
    margin,
    mean_measures,
    measure_edit,
    perplexity,
    read_answers,
)
from kcircuits.editing.methods import FineTuning
from kcircuits.editing.request import Question
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward
from tests.data.tiny_tokenizers import word_tokenizer
from tests.editing.conftest import WORDS, request


def logits_of(model, ids):
    tokens = torch.tensor([ids])
    return forward(model.spec, tokens, torch.ones_like(tokens, dtype=torch.bool))[0].float()


def test_answers_are_read_off_the_reference_forward(model):
    questions = [Question("Paris is a", "big city"), Question("the city of Rome lies in", "Italy")]
    for question, answered in zip(questions, read_answers(model, questions), strict=True):
        prompt, answer = (model.tokenizer(text)["input_ids"] for text in (question.prompt, question.answer))
        log = logits_of(model, prompt + answer[:-1]).log_softmax(-1)[len(prompt) - 1 :]
        expected = math.exp(
            sum(float(row[token]) for row, token in zip(log, answer, strict=True)) / len(answer)
        )
        assert answered.probability == pytest.approx(expected, rel=1e-4)
        assert answered.choices == tuple(log.argmax(-1).tolist())
        assert answered.said == (answered.choices == tuple(answer))


def test_a_perfect_edit_and_none(model):
    none = measure_edit(model, model, request())
    assert none.locality == 1
    method = FineTuning("masked", ("m0", "m1", "m2"), TuningOptions(steps=60, learning_rate=0.03))
    made = measure_edit(edit(model, [request()], method).model, model, request())
    assert (made.efficacy, made.reliability) == (1, 1)
    assert made.magnitude > 0.9
    means = mean_measures([none, made])
    assert means["locality"] == pytest.approx((1 + made.locality) / 2)


def test_what_a_request_lacks_is_not_measured(model):
    bare = request(target_true=None, paraphrases=(), neighbours=(), portability=())
    measured = measure_edit(model, model, bare)
    for name in ("efficacy", "paraphrase", "specificity", "magnitude", "locality", "portability", "score"):
        assert getattr(measured, name) is None
    assert mean_measures([measured])["score"] is None


def test_the_score_is_the_harmonic_mean():
    assert harmonic_mean([1, 0.0, 1]) == 0
    assert harmonic_mean([1, None]) is None
    assert harmonic_mean([0.5, 1]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("bos", [False, True])
def test_perplexity_of_windows_that_begin_with_bos(model, bos):
    """Against windows cut by hand: every token is predicted once, but a window's first one without BOS."""
    read = replace(model, tokenizer=word_tokenizer(WORDS, bos=bos, eos=bos))
    text = " ".join(WORDS.split()[5:20] * 12)
    ids = model.tokenizer(text)["input_ids"]
    size = min(128, model.spec.max_positions + 1 - bos)
    total, count = 0.0, 0
    for start in range(0, len(ids), size):
        window = [1] * bos + ids[start : start + size]
        log = logits_of(model, window[:-1]).log_softmax(-1)
        total -= sum(float(log[i, token]) for i, token in enumerate(window[1:]))
        count += len(window) - 1
    assert count == len(ids) - (0 if bos else math.ceil(len(ids) / size))
    assert perplexity(read, text) == pytest.approx(math.exp(total / count), rel=1e-4)
    with pytest.raises(KCircuitsError, match="too short"):
        perplexity(model, "Paris")


def test_the_margin_is_the_difference_of_the_logits(model):
    asked = request()
    row = logits_of(model, model.tokenizer(asked.prompt)["input_ids"])[-1]
    new, true = (model.tokenizer(word)["input_ids"][0] for word in (asked.target, asked.target_true))
    assert margin(model, asked) == pytest.approx(float(row[new] - row[true]), abs=1e-4)
    assert margin(model, request(target_true=None)) is None


def test_without_fluency_the_other_measures_are_the_same(model, requests):
    brief = measure_edit(model, model, requests[0], generated=0)
    whole = measure_edit(model, model, requests[0])
    assert brief.fluency is None
    assert replace(whole, fluency=None) == brief
