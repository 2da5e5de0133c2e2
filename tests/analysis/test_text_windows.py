"""Perplexity of a text in masked runs, against the reference forward."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.analysis.knockout import text_windows
from kcircuits.analysis.knockout.text_windows import RunningText, text_perplexity, windows_of
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward, masked_forward
from kcircuits.task import Task
from tests.covers import pairwise
from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import tiny_spec
from tests.tasks import ablated_values, padded_prompts, random_prompts_of

WORDS = [f"w{number}" for number in range(50)]
PLAIN, BOS = (word_tokenizer(" ".join(WORDS), bos=bos, eos=bos) for bos in (False, True))
SPEC = tiny_spec("llama_gqa")


def text_of(*numbers: int) -> str:
    return " ".join(WORDS[number % len(WORDS)] for number in numbers)


def test_windows_begin_with_bos(monkeypatch):
    monkeypatch.setattr(text_windows, "WINDOW", 4)
    windows = windows_of(BOS, text_of(*range(9)), SPEC, 100)
    assert [prompt.clean_ids for prompt in windows.prompts] == [(1, 3, 4, 5), (1, 7, 8, 9), (1,)]
    assert [prompt.answer_id for prompt in windows.prompts] == [6, 10, 11]
    assert [windows.targets(prompt) for prompt in windows.prompts] == [(3, 4, 5, 6), (7, 8, 9, 10), (11,)]
    assert windows.num_predicted == 9


def test_without_bos_the_first_token_of_a_window_is_not_predicted(monkeypatch):
    monkeypatch.setattr(text_windows, "WINDOW", 4)
    windows = windows_of(PLAIN, text_of(*range(9)), SPEC, 100)
    assert [prompt.clean_ids for prompt in windows.prompts] == [(3, 4, 5), (7, 8, 9)]
    assert [windows.targets(prompt) for prompt in windows.prompts] == [(4, 5, 6), (8, 9, 10)]
    assert windows.num_predicted == 6


@given(st.integers(2, 300), st.integers(2, 300), st.booleans())
def test_every_token_is_predicted_once(length, most, bos):
    windows = windows_of(BOS if bos else PLAIN, text_of(*range(length)), SPEC, most)
    wanted = [token for prompt in windows.prompts for token in windows.targets(prompt)]
    ids = [3 + number % len(WORDS) for number in range(min(length, most))]
    starts = set() if bos else set(range(0, len(ids), text_windows.WINDOW))
    assert wanted == [token for place, token in enumerate(ids) if place not in starts]
    assert windows.num_predicted == len(wanted)
    assert all(len(prompt.clean_ids) <= SPEC.max_positions for prompt in windows.prompts)


@pairwise(name=["llama_gqa", "gpt2", "gemma2", "gpt_neox"], ablation=["zero", "mean"], bos=[False, True])
def test_perplexity_is_that_of_the_reference(name, ablation, bos, monkeypatch):
    monkeypatch.setattr(text_windows, "WINDOW", 5)
    spec = tiny_spec(name)
    windows = windows_of(BOS if bos else PLAIN, text_of(4, 8, 15, 16, 23, 42, 7, 7, 1, 0, 3, 9), spec, 100)
    task = Task(windows.prompts, ablation, reference=random_prompts_of([4, 3]) if ablation == "mean" else ())
    rng = np.random.default_rng(0)
    masks = np.stack([spec.graph.valid, spec.graph.valid & (rng.random(spec.graph.valid.shape) < 0.8)])

    padded, real = padded_prompts(task)
    ablated = ablated_values(spec, task)
    expected = []
    for mask in masks:
        logits = masked_forward(spec, padded.clean, real, torch.as_tensor(mask), ablated)
        losses = []
        for row, prompt in zip(logits.log_softmax(-1), windows.prompts, strict=True):
            targets = windows.targets(prompt)
            losses += [-row[place - len(targets)][token] for place, token in enumerate(targets)]
        expected.append(float(torch.stack(losses).mean().exp()))
    for memory in (1, 2**30):
        got = text_perplexity(spec, task, windows, masks, memory)
        assert got == pytest.approx(expected, rel=1e-3)


def test_the_full_model_s_is_the_usual_one():
    windows = windows_of(BOS, text_of(*range(30)), SPEC, 100)
    (prompt,) = windows.prompts
    ids = torch.tensor([[*prompt.clean_ids, prompt.answer_id]])
    logits = forward(SPEC, ids, torch.ones_like(ids, dtype=torch.bool))[0, :-1]
    loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
    (got,) = text_perplexity(SPEC, Task(windows.prompts, "zero"), windows, SPEC.graph.valid[None], 2**30)
    assert got == pytest.approx(math.exp(loss), rel=1e-4)


def test_a_perplexity_beyond_all_numbers(monkeypatch):
    monkeypatch.setattr(text_windows, "MOST_NATS", 1)
    windows = windows_of(BOS, text_of(*range(30)), SPEC, 100)
    with pytest.raises(KCircuitsError, match="perplexity of the text overflows: it is exp"):
        text_perplexity(SPEC, Task(windows.prompts, "zero"), windows, SPEC.graph.valid[None], 2**30)


@pytest.mark.parametrize(
    ("tokenizer", "text", "message"),
    [
        (None, "w1 w2", "this model has no tokenizer, so it cannot read a text"),
        (BOS, " \n ", "'text' is empty"),
        (PLAIN, "w1", "the text is too short: one token has nothing to be predicted from"),
        (BOS, "w1 \ud800", "is not Unicode text"),
        (
            word_tokenizer(" ".join(f"w{number}" for number in range(99))),
            "w1 w98",
            "id 101 of the text is not",
        ),
    ],
)
def test_bad_input(tokenizer, text, message):
    with pytest.raises(KCircuitsError, match=message):
        windows_of(tokenizer, text, SPEC, 100)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((b"w1",), "text must be a string, got b'w1'"),
        (("w1", 0), "tokens must be a whole number, at least 1; got 0"),
        (("w1", 2.5), "tokens must be a whole number, at least 1; got 2.5"),
    ],
)
def test_bad_texts(given, message):
    with pytest.raises(KCircuitsError, match=message):
        RunningText(*given)
