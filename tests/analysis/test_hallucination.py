"""Errors: who overtakes whom, where, and by which nodes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kcircuits.analysis.curves.reading import layer_curves
from kcircuits.analysis.hallucination.reading import hallucinations, overtaking_layer
from kcircuits.analysis.hallucination.results import DECIDING
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward
from tests.analysis.models import model_of
from tests.analysis.planted import MOVER, SUPPRESSOR, planted_prompts, planted_spec
from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import BUILDERS, tiny_spec
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([5, 2, 4, 3, 6, 4])
WITHOUT_WRONG = tuple(replace(prompt, wrong_id=None) for prompt in PROMPTS)


def last_logits(spec, prompt):
    ids = torch.tensor([prompt.clean_ids])
    return forward(replace(spec, logit_soft_cap=None), ids, torch.ones_like(ids, dtype=torch.bool))[0, -1]


@pytest.mark.parametrize("memory", [1, 2**30])
@pytest.mark.parametrize("name", BUILDERS)
def test_the_models_own_errors(name, memory):
    model = model_of(name)
    found = hallucinations(model, WITHOUT_WRONG, memory=memory)
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
    for error in hallucinations(model_of("llama_gqa"), WITHOUT_WRONG).errors:
        assert sum(node.share for node in error.nodes) == pytest.approx(1, abs=1e-3)
        assert sum(node.difference for node in error.nodes) == pytest.approx(error.difference, abs=1e-3)


def test_curves_are_those_of_both_answers():
    model = model_of("gpt2")
    found = hallucinations(model, PROMPTS)
    right = layer_curves(model, PROMPTS).runs["full"]
    swapped = [replace(prompt, answer_id=prompt.wrong_id, wrong_id=prompt.answer_id) for prompt in PROMPTS]
    wrong = layer_curves(model, swapped).runs["full"]
    ahead = [n for n in range(len(PROMPTS)) if wrong.probability[n, -1] > right.probability[n, -1]]
    assert 0 < len(ahead) < len(PROMPTS)
    assert len(found.errors) == len(ahead)
    for error, n in zip(found.errors, ahead, strict=True):
        np.testing.assert_allclose(error.right.probability, right.probability[n], rtol=1e-4)
        np.testing.assert_allclose(error.wrong.probability, wrong.probability[n], rtol=1e-4)
        assert error.right.rank == tuple(right.rank[n])
        assert error.best_layer == int(right.rank[n].argmin())
        assert error.overtakes == overtaking_layer(right.probability[n], wrong.probability[n])


@settings(deadline=None)
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
    found = hallucinations(model_of(planted_spec()), prompts)
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
    found = hallucinations(model_of("llama_gqa"), WITHOUT_WRONG)
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
    found = hallucinations(model_of("llama_gqa"), WITHOUT_WRONG)
    found.save(tmp_path / "hallucination.json")
    document = json.loads((tmp_path / "hallucination.json").read_text(), parse_constant=pytest.fail)
    assert document["format"] == "kcircuits-hallucination/1"
    assert document["layers"] == [0, 1, 2, 3]
    first = document["prompts"][0]
    assert first["best_rank"] == min(first["runs"]["right"]["rank"])
    assert len(found.table()) == len(found.errors) * len(tiny_spec("llama_gqa").graph.senders)


def test_no_error():
    with pytest.raises(KCircuitsError, match="the model makes no error on the 2 prompts"):
        hallucinations(model_of(planted_spec()), planted_prompts())


def test_a_word_that_continues_the_sentence_is_no_error():
    """The words of the vocabulary are chosen so that the first prompt's most likely token is one."""
    model = model_of("llama_gqa")
    tops = [int(last_logits(model.spec, prompt).argmax()) for prompt in WITHOUT_WRONG]
    wrong = [top for top, prompt in zip(tops, WITHOUT_WRONG, strict=True) if top != prompt.answer_id]
    words = {token: f"w{token}" for token in range(3, model.spec.vocab_size)} | {wrong[0]: "both"}
    tokenizer = word_tokenizer(" ".join(words[token] for token in range(3, model.spec.vocab_size)))
    assert tokenizer.decode([wrong[0]]) == "both"
    found = hallucinations(replace(model, tokenizer=tokenizer), WITHOUT_WRONG)
    others = [token for token in wrong if token != wrong[0]]
    assert [error.text.wrong for error in found.errors] == [tokenizer.decode([token]) for token in others]
    assert found.settings["num_errors"] == len(others)
    assert found.settings["continuations"] == {"both": len(wrong) - len(others)}
    own = tuple(
        replace(prompt, wrong_id=wrong[0]) for prompt in WITHOUT_WRONG if prompt.answer_id != wrong[0]
    )
    assert "continuations" not in hallucinations(replace(model, tokenizer=tokenizer), own).settings
