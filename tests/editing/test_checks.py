"""Edits that cannot be made, or not together: refused before the work."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kcircuits.editing.edit import EditedModel, edit, edit_each
from kcircuits.editing.methods import FineTuning, Memit, Rome
from kcircuits.editing.second_moment import identity_moment
from kcircuits.errors import KCircuitsError
from tests.data.tiny_tokenizers import word_tokenizer
from tests.editing.conftest import WORDS, request

ROME, MEMIT = Rome(layer=1), Memit(over=(0, 1))
AT_START = {"prompt": "Paris lies in", "target": "Norway"}


def moments(layer):
    return identity_moment(48, layer)


@pytest.fixture
def no_work(monkeypatch):
    for name in ("optimise_values", "fine_tune"):
        monkeypatch.setattr(f"kcircuits.editing.edit.{name}", None)  # would be called


@pytest.mark.parametrize("method", [ROME, MEMIT, FineTuning("masked", ("m1",))])
def test_contradicting_edits_are_refused_together(model, method, no_work):
    both = [request(), request(subject="city Paris", target="Peru")]
    message = "edits 1 and 2 contradict each other: 'the city Paris lies in' .* 'Norway' and 'Peru'.*--each"
    with pytest.raises(KCircuitsError, match=message):
        edit(model, both, method, moments=moments, num_prefixes=0)


def test_contradicting_edits_each_by_itself(model):
    made = edit_each(model, [request(), request(target="Peru")], ROME, moments=moments, num_prefixes=0)
    assert all(isinstance(one, EditedModel) for one in made)


def test_one_key_for_two_prompts_is_for_memit_alone(model, monkeypatch):
    both = [request(), request(prompt="the city Paris is in", target="Peru")]
    edit(model, both, MEMIT, moments=moments, num_prefixes=0)
    monkeypatch.setattr("kcircuits.editing.edit.optimise_values", None)
    with pytest.raises(KCircuitsError, match=r"edits 1 and 2 have the same key, .* use memit"):
        edit(model, both, ROME, moments=moments, num_prefixes=0)


def test_other_prompts_of_one_subject_go_together(model):
    both = [request(), request(prompt="in land Paris lies", target="Peru")]
    assert not edit(model, both, ROME, moments=moments, num_prefixes=0).failed


@pytest.mark.parametrize("method", [ROME, MEMIT])
def test_a_subject_that_comes_first_without_bos(model, method, monkeypatch):
    both = [request(**AT_START), request()]
    made = edit(model, both, method, moments=moments, num_prefixes=2)
    assert list(made.failed) == [0]
    assert "no BOS before it" in made.failed[0] and "start the prompt with other words" in made.failed[0]
    alone = edit(model, [request()], method, moments=moments, num_prefixes=2)
    for name, part in alone.delta.parts.items():
        torch.testing.assert_close(made.delta.parts[name].matrix, part.matrix)
    first, second = edit_each(model, both, method, moments=moments, num_prefixes=2)
    assert first == made.failed[0] and isinstance(second, EditedModel)
    monkeypatch.setattr("kcircuits.editing.edit.optimise_values", None)
    with pytest.raises(
        KCircuitsError, match=r"no edit can be made; the first: the subject is the prompt's first"
    ):
        edit(model, both[:1], method, moments=moments, num_prefixes=0)


def test_behind_bos_or_with_several_tokens_a_subject_may_come_first(model):
    bos = replace(model, tokenizer=word_tokenizer(WORDS, bos=True))
    assert not edit(bos, [request(**AT_START)], ROME, moments=moments, num_prefixes=0).failed
    two = request(subject="Paris city", prompt="Paris city lies in")
    assert not edit(model, [two], ROME, moments=moments, num_prefixes=0).failed
