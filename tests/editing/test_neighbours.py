"""What neighbours have in common with an edit, against the edit's closed form and plain runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kcircuits.discovery import Acdc, EapIg, attribute
from kcircuits.editing.delta import Delta, get_matrix
from kcircuits.editing.edit import edit
from kcircuits.editing.methods import FineTuning, Rome
from kcircuits.editing.neighbours import read_neighbours
from kcircuits.editing.request import Question
from kcircuits.editing.second_moment import SecondMoment
from kcircuits.editing.stream import Tokens, run_to_mlp
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward
from kcircuits.scores.selection import Selection, choose_edges
from kcircuits.task import Task
from tests.editing.conftest import WORDS, request
from tests.editing.edits import random_moment
from tests.editing.test_edit import TUNING, VALUE

NEIGHBOURS = tuple(
    Question(f"the city {subject} lies in", answer)
    for subject, answer in (("Rome", "Italy"), ("Lima", "Peru"), ("Oslo", "Norway"))
)
WORDS_SAID = ("France", "Italy", "Peru", "Norway")  # the true object, and the neighbours' answers
MOMENT = SecondMoment(random_moment(48), 1, "random", 144)
NAME = "layers.1.mlp.w_down"


def made_of(model, method=None, **changes):
    wanted = [request(neighbours=NEIGHBOURS, target="Lima", **changes)]
    return edit(model, wanted, method or Rome(layer=1, value=VALUE), moments=lambda _: MOMENT, num_prefixes=0)


def key_of(model, text, word):
    """What w_down of layer 1 reads at a word, float64 [F]."""
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    at = ids[0].tolist().index(model.tokenizer.convert_tokens_to_ids(word))
    return (
        run_to_mlp(model.spec, Tokens(ids, torch.ones_like(ids, dtype=torch.bool)), 1).hidden[0, at].double()
    )


def test_the_overlap_is_the_share_of_the_value_that_a_neighbour_gets(model):
    """W'k' − Wk' = overlap · (v* − Wk), and overlap = kᵀC⁻¹k' / kᵀC⁻¹k."""
    made = made_of(model)
    k, change = key_of(model, request().prompt, "Paris"), matrix_change(made)
    weighted = torch.linalg.solve(MOMENT.matrix.double(), k)
    for neighbour in read_neighbours(made, MOMENT):
        other = key_of(model, neighbour.prompt, neighbour.subject)
        torch.testing.assert_close(change @ other, neighbour.key_overlap * (change @ k), atol=1e-4, rtol=1e-4)
        assert neighbour.key_overlap == pytest.approx(float(weighted @ other / (weighted @ k)), abs=1e-5)
        assert neighbour.key_cosine == pytest.approx(float(k @ other / (k.norm() * other.norm())), abs=1e-4)


def matrix_change(made):
    before, after = (get_matrix(model.spec, NAME).double() for model in (made.original, made.model))
    return after - before


def test_the_edited_fact_is_its_own_nearest_neighbour(model):
    made = made_of(model)
    own = replace(made.requests[0], neighbours=(Question(request().prompt, "France"),))
    (found,) = read_neighbours(replace(made, requests=(own,)), MOMENT, ablation="zero")
    assert found.key_cosine == pytest.approx(1, abs=1e-5)
    assert found.key_overlap == pytest.approx(1, abs=1e-5)
    assert found.circuit_overlap == 1


def test_margins_and_changes_are_those_of_plain_runs(model):
    prompts = [f"the city {subject} lies in" for subject in WORDS.split()]
    known = next(Question(prompt, said) for prompt in prompts if (said := word_said(model, prompt)))
    asked = (known, *NEIGHBOURS)
    made = made_of(model)
    made = replace(made, requests=(replace(made.requests[0], neighbours=asked),))
    found = read_neighbours(made, MOMENT)
    assert found[0].said
    assert [each.answer for each in found] == [each.answer for each in asked]
    for each in found:
        token = model.tokenizer.convert_tokens_to_ids(each.answer)
        before, after = (last_log(one, each.prompt) for one in (model, made.model))
        others = torch.cat([before[:token], before[token + 1 :]])
        assert each.margin == pytest.approx(float(before[token].exp() - others.exp().max()), abs=1e-5)
        assert each.change == pytest.approx(float(after[token] - before[token]), abs=1e-4)
        assert each.said == (int(before.argmax()) == token) == (each.margin > 0)
        assert each.broken == (each.said and int(after.argmax()) != token)


def last_log(model, text):
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    return forward(model.spec, ids, torch.ones_like(ids, dtype=torch.bool))[0, -1].double().log_softmax(-1)


def word_said(model, text):
    return model.tokenizer.convert_ids_to_tokens(int(last_log(model, text).argmax()))


def test_a_strong_edit_breaks_what_shares_its_key(model):
    """The neighbour is what the model said of the edited fact itself; forty times the edit moves it."""
    made = made_of(model)
    own = Question(request().prompt, word_said(model, request().prompt))
    asked = (replace(made.requests[0], neighbours=(own,)),)
    for times, broken in ((0, False), (40, True)):
        part = replace(made.delta.parts[NAME], left=times * made.delta.parts[NAME].left)
        edited = replace(made, requests=asked, delta=Delta({NAME: part}))
        (found,) = read_neighbours(edited, MOMENT, ablation="zero")
        assert (found.said, found.broken) == (True, broken)
        assert (word_said(edited.model, own.prompt) != own.answer) == broken


def test_circuits_overlap_by_the_strongest_edges(model):
    made, num_edges = made_of(model), model.spec.graph.num_edges
    every = read_neighbours(made, MOMENT, selection=Selection(top_n=num_edges))
    assert [each.circuit_overlap for each in every] == [1, 1, 1]
    (one, *_) = read_neighbours(made, MOMENT, selection=Selection(top_n=20))
    assert 0 <= one.circuit_overlap < 1
    assert round(40 * one.circuit_overlap / (1 + one.circuit_overlap), 6).is_integer()  # 20 + 20 edges


def test_the_method_and_the_selection_are_those_given(model):
    made, selection = made_of(model), Selection(top_n=30, absolute=False)
    texts = (request().prompt, *(each.prompt for each in NEIGHBOURS))
    prompts = [model.prompt(text, answer) for text, answer in zip(texts, WORDS_SAID, strict=True)]
    tasks = [Task([each], "mean", reference=prompts) for each in prompts]
    scores = [attribute(model, task, EapIg(3)).matrix for task in tasks]
    chosen = [choose_edges(model.spec.graph, matrix, selection) for matrix in scores]
    found = read_neighbours(made, MOMENT, EapIg(3), selection=selection)
    for neighbour, own in zip(found, chosen[1:], strict=True):
        expected = (own & chosen[0]).sum() / (own | chosen[0]).sum()
        assert neighbour.circuit_overlap == pytest.approx(expected)


def test_subjects_of_other_words(model):
    other = Question("Oslo is a city of", "Norway")
    made = made_of(model)
    made = replace(made, requests=(replace(made.requests[0], neighbours=(other,)),))
    with pytest.raises(KCircuitsError, match="give the neighbours' subjects"):
        read_neighbours(made, MOMENT)
    (found,) = read_neighbours(made, MOMENT, subjects=["Oslo"], ablation="zero")
    assert found.subject == "Oslo"
    torch.testing.assert_close(
        matrix_change(made) @ key_of(model, other.prompt, "Oslo"),
        found.key_overlap * (matrix_change(made) @ key_of(model, request().prompt, "Paris")),
        atol=1e-4,
        rtol=1e-4,
    )
    for subjects, message in (
        (["Lima"], "does not occur"),
        ([""], "does not occur"),
        ([], "1 neighbours need"),
    ):
        with pytest.raises(KCircuitsError, match=message):
            read_neighbours(made, MOMENT, subjects=subjects)


class TestBadInput:
    def test_not_of_rank_one(self, model):
        made = made_of(model, FineTuning("masked", ("m1",), TUNING))
        with pytest.raises(KCircuitsError, match="by ROME"):
            read_neighbours(made, MOMENT)

    def test_another_layer(self, model):
        with pytest.raises(KCircuitsError, match="second moment is of layer 2"):
            read_neighbours(made_of(model), replace(MOMENT, layer=2))

    def test_no_neighbours(self, model):
        made = made_of(model)
        with pytest.raises(KCircuitsError, match="no neighbours"):
            read_neighbours(replace(made, requests=(request(neighbours=()),)), MOMENT)

    @pytest.mark.parametrize(
        ("method", "message"),
        [
            ("eap", "method must be an object such as .*, got 'eap'"),
            (Acdc(), "acdc does not score all edges"),
        ],
    )
    def test_methods_that_do_not_score(self, model, method, message):
        with pytest.raises(KCircuitsError, match=message):
            read_neighbours(made_of(model), MOMENT, method)
