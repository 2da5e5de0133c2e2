"""Errors: who overtakes whom, where, and by which nodes."""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kcircuits.analysis.curves.reading import layer_curves
from kcircuits.analysis.hallucination.reading import hallucinations, overtaking_layer
from kcircuits.analysis.hallucination.results import DECIDING, Hallucinations
from kcircuits.analysis.hallucination.section import hallucination_section
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward
from kcircuits.task import Task
from tests.analysis.models import model_of
from tests.analysis.planted import MOVER, SUPPRESSOR, planted_prompts, planted_spec
from tests.covers import every_value
from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import BUILDERS, tiny_spec
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([5, 2, 4, 3, 6, 4])
WITHOUT_WRONG = tuple(replace(prompt, wrong_id=None) for prompt in PROMPTS)


def last_logits(spec, prompt):
    ids = torch.tensor([prompt.clean_ids])
    return forward(replace(spec, logit_soft_cap=None), ids, torch.ones_like(ids, dtype=torch.bool))[0, -1]


@every_value(name=list(BUILDERS), memory=[1, 2**30])
def test_the_models_own_errors(name, memory):
    model = model_of(name)
    found = hallucinations(model, Task(WITHOUT_WRONG), memory=memory)
    logits = [last_logits(model.spec, prompt) for prompt in WITHOUT_WRONG]
    wrong = [(n, int(x.argmax())) for n, x in enumerate(logits) if x.argmax() != PROMPTS[n].answer_id]
    assert [error.text.wrong for error in found.errors] == [str(token) for _, token in wrong]
    assert found.settings == {"num_prompts": len(PROMPTS), "num_errors": len(wrong)}
    for error, (n, token) in zip(found.errors, wrong, strict=True):
        difference = (logits[n][token] - logits[n][PROMPTS[n].answer_id]).item()
        assert error.difference == pytest.approx(difference, abs=1e-3, rel=1e-3)
        assert error.wrong.rank[-1] == 1
        assert error.overtakes <= len(model.spec.layers)
        shares = [node.share for node in error.nodes]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) == len(model.spec.graph.senders)


def test_shares_of_a_model_without_constants_are_one():
    for error in hallucinations(model_of("llama_gqa"), Task(WITHOUT_WRONG)).errors:
        assert sum(node.share for node in error.nodes) == pytest.approx(1, abs=1e-3)
        assert sum(node.difference for node in error.nodes) == pytest.approx(error.difference, abs=1e-3)


def test_curves_are_those_of_both_answers():
    model = model_of("gpt2")
    found = hallucinations(model, Task(PROMPTS))
    right = layer_curves(model, Task(PROMPTS)).runs["full"]
    swapped = [replace(prompt, answer_id=prompt.wrong_id, wrong_id=prompt.answer_id) for prompt in PROMPTS]
    wrong = layer_curves(model, Task(swapped)).runs["full"]
    ahead = [n for n in range(len(PROMPTS)) if wrong.probability[n, -1] > right.probability[n, -1]]
    assert 0 < len(ahead) < len(PROMPTS)
    assert len(found.errors) == len(ahead)
    for error, n in zip(found.errors, ahead, strict=True):
        np.testing.assert_allclose(error.right.probability, right.probability[n], rtol=1e-4)
        np.testing.assert_allclose(error.wrong.probability, wrong.probability[n], rtol=1e-4)
        assert error.right.rank == tuple(right.rank[n])
        assert error.best_layer == int(right.rank[n].argmin())
        assert error.overtakes == overtaking_layer(right.probability[n], wrong.probability[n])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_overtaking_is_for_good(pairs):
    right, wrong = (np.array(values) for values in zip(*pairs, strict=True))
    layer = overtaking_layer(right, wrong)
    if layer is None:
        assert wrong[-1] <= right[-1]
    else:
        assert (wrong[layer:] > right[layer:]).all()
        assert layer == 0 or wrong[layer - 1] <= right[layer - 1]


def test_a_planted_error():
    """Asked for the other answer, the mover decides for the wrong one and the suppressor against it."""
    prompts = [
        replace(prompt, answer_id=prompt.wrong_id, wrong_id=prompt.answer_id) for prompt in planted_prompts()
    ]
    found = hallucinations(model_of(planted_spec()), Task(prompts))
    for error in found.errors:
        assert error.overtakes == 1
        assert error.nodes[0].node == MOVER
        assert error.nodes[0].difference == pytest.approx(4, abs=1e-4)
        assert error.nodes[-1].node == SUPPRESSOR
        assert error.nodes[-1].difference == pytest.approx(-0.5, abs=1e-4)
    recurring = found.recurring
    assert (recurring[0].node, recurring[0].errors) == (MOVER, 2)
    assert recurring[0].share == pytest.approx(4 / (4 - 0.5 + 0.25), abs=1e-4)


def test_recurring_nodes():
    found = hallucinations(model_of("llama_gqa"), Task(WITHOUT_WRONG))
    total = np.mean([error.difference for error in found.errors])
    for node in found.recurring:
        own = [next(each for each in error.nodes if each.node == node.node) for error in found.errors]
        strong = [
            each in error.nodes[:DECIDING] and each.share > 0
            for each, error in zip(own, found.errors, strict=True)
        ]
        assert node.errors == sum(strong)
        assert node.share == pytest.approx(np.mean([each.difference for each in own]) / total)


def test_json(tmp_path):
    found = hallucinations(model_of("llama_gqa"), Task(WITHOUT_WRONG))
    found.save(tmp_path / "hallucination.json")
    document = json.loads((tmp_path / "hallucination.json").read_text(), parse_constant=pytest.fail)
    assert document["format"] == "kcircuits-hallucination/1"
    assert document["layers"] == [0, 1, 2, 3]
    first = document["prompts"][0]
    assert first["best_rank"] == min(first["runs"]["right"]["rank"])
    assert len(found.table()) == len(found.errors) * len(tiny_spec("llama_gqa").graph.senders)


def test_no_error():
    with pytest.raises(KCircuitsError, match="the model makes no error on the 2 prompts"):
        hallucinations(model_of(planted_spec()), Task(planted_prompts()))


def test_a_word_that_continues_the_sentence_is_no_error():
    """The words of the vocabulary are chosen so that the first prompt's most likely token is one."""
    model = model_of("llama_gqa")
    tops = [int(last_logits(model.spec, prompt).argmax()) for prompt in WITHOUT_WRONG]
    wrong = [top for top, prompt in zip(tops, WITHOUT_WRONG, strict=True) if top != prompt.answer_id]
    words = {token: f"w{token}" for token in range(3, model.spec.vocab_size)} | {wrong[0]: "both"}
    tokenizer = word_tokenizer(" ".join(words[token] for token in range(3, model.spec.vocab_size)))
    assert tokenizer.decode([wrong[0]]) == "both"
    found = hallucinations(replace(model, tokenizer=tokenizer), Task(WITHOUT_WRONG))
    others = [token for token in wrong if token != wrong[0]]
    assert [error.text.wrong for error in found.errors] == [tokenizer.decode([token]) for token in others]
    assert found.settings["num_errors"] == len(others)
    assert found.settings["continuations"] == {"both": len(wrong) - len(others)}
    own = tuple(
        replace(prompt, wrong_id=wrong[0]) for prompt in WITHOUT_WRONG if prompt.answer_id != wrong[0]
    )
    assert "continuations" not in hallucinations(replace(model, tokenizer=tokenizer), Task(own)).settings


def rank_of_answer(spec, prompt) -> int:
    logits = last_logits(spec, prompt)
    return 1 + int((logits > logits[prompt.answer_id]).sum())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_answers_beyond_the_rank_limit_are_left_out(place, tmp_path):
    model = model_of("llama_gqa")
    every = hallucinations(model, Task(WITHOUT_WRONG))
    ranks = [rank_of_answer(model.spec, prompt) for prompt in WITHOUT_WRONG]
    limit = sorted(ranks)[place]
    assert limit > 1  # every prompt is an error
    kept = [n for n, rank in enumerate(ranks) if rank <= limit]
    assert 0 < len(kept) < len(ranks)
    found = hallucinations(model, Task(WITHOUT_WRONG), rank_limit=limit)
    expected = [every.errors[n] for n in kept]
    assert [error.text for error in found.errors] == [error.text for error in expected]
    assert [error.right.rank for error in found.errors] == [error.right.rank for error in expected]
    differences = [error.difference for error in expected]
    assert [error.difference for error in found.errors] == pytest.approx(differences, abs=1e-4)
    left_out = len(ranks) - len(kept)
    assert found.settings == {
        "num_prompts": len(ranks),
        "num_errors": len(kept),
        "rank_limit": limit,
        "beyond_rank_limit": left_out,
    }
    sentence = f"are left out, as the right answer's rank is above {limit:,}"
    assert f"; {left_out} {sentence};" in repr(found)
    assert "left out" not in repr(every)
    assert f"{left_out} {sentence}. " in unescape(hallucination_section(found))
    found.save(tmp_path / "a.json")
    assert Hallucinations.load(tmp_path / "a.json").left_out == f"{left_out} {sentence}"


def test_of_a_prompt_with_its_own_wrong_answer_the_limit_holds_too():
    model = model_of("llama_gqa")
    ranks = [rank_of_answer(model.spec, prompt) for prompt in PROMPTS]
    with pytest.raises(
        KCircuitsError, match=f"; {len(ranks)} are left out, as the right answer's rank is abo"
    ):
        hallucinations(model, Task(PROMPTS), rank_limit=min(ranks) - 1)


@pytest.mark.parametrize("limit", [0, 1.5, True, "10"])
def test_bad_rank_limits(limit):
    with pytest.raises(KCircuitsError, match="rank_limit must be a whole number, at least 1; got"):
        hallucinations(model_of("llama_gqa"), Task(PROMPTS), rank_limit=limit)


def test_a_file_with_half_a_rank_limit():
    document = hallucinations(model_of("llama_gqa"), Task(WITHOUT_WRONG)).to_json()
    document["settings"] = document["settings"] | {"rank_limit": 10}
    with pytest.raises(KCircuitsError, match="settings: the key 'beyond_rank_limit' is missing"):
        Hallucinations.from_json(document)
