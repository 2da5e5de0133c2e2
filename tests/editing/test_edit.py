"""Whole edits of tiny models: what they change, what they leave, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from kcircuits.editing.delta import Delta, LowRank, get_matrix
from kcircuits.editing.edit import EditedModel, edit, edit_each
from kcircuits.editing.fine_tuning import TuningOptions
from kcircuits.editing.measures import read_answers
from kcircuits.editing.methods import FineTuning, Memit, Rome
from kcircuits.editing.request import Question
from kcircuits.editing.second_moment import SecondMoment, accumulate_moment, identity_moment
from kcircuits.editing.values import ValueOptions
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import Model
from tests.editing.conftest import model_named, request

VALUE = ValueOptions(steps=30, clamp=30, weight_decay=0.001)
TUNING = TuningOptions(steps=40, learning_rate=0.02)
METHODS = {
    "rome": Rome(layer=1, value=VALUE),
    "memit": Memit(over=(0, 1), weight=1e-4, value=VALUE),
    "ft-l": FineTuning("last", ("m1",), TUNING),
    "ft-m": FineTuning("masked", ("m1", "a1.h2"), TUNING),
}
every_method = pytest.mark.parametrize("method", METHODS)


def moments_of(model: Model) -> Callable[[int], SecondMoment]:
    """The keys of every pair of words: what an edit of a tiny model shall leave as it is."""
    words = range(3, 30)
    pairs = [(first, second) for first in words for second in words]

    def at(layer: int) -> SecondMoment:
        matrix = accumulate_moment(model.spec, layer, pairs)[0]
        return SecondMoment(
            matrix + 1e-4 * matrix.diagonal().mean() * torch.eye(len(matrix)), layer, "pairs", 1
        )

    return at


def identity(layer: int) -> SecondMoment:
    return identity_moment(48, layer)


def bits(model: Model) -> list[bytes]:
    return [
        matrix.numpy().tobytes()
        for layer in model.spec.layers
        for matrix in (layer.mlp.w_down, layer.mlp.w_up, layer.attention.w_o, layer.attention.w_q)
    ]


def answer_of(model: Model, question: str, answer: str) -> float:
    return read_answers(model, [Question(question, answer)])[0].probability


@every_method
def test_an_edit_makes_its_targets_likely_and_leaves_the_model_as_it_was(method, model, requests):
    before = bits(model)
    made = edit(model, requests, METHODS[method], moments=moments_of(model), num_prefixes=0)
    with made as edited:
        for each in requests:
            # By one layer above the edit, random weights let a subject say only so much.
            raised = answer_of(edited, each.prompt, each.target)
            assert raised > 2 * answer_of(model, each.prompt, each.target)
        changed = {name for name, old, new in _matrices(model, edited) if not torch.equal(old, new)}
        assert changed == set(made.delta.parts)
        assert edited.identity["weights_hash"] != model.identity["weights_hash"]
    assert bits(model) == before
    assert "model" not in vars(made)  # the edited matrices are gone


def _matrices(first: Model, second: Model) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    names = [f"layers.{n}.{part}" for n in range(3) for part in ("mlp.w_down", "attention.w_o")]
    return [(name, get_matrix(first.spec, name), get_matrix(second.spec, name)) for name in names]


@every_method
def test_each_is_edited_in_a_model_of_its_own(method, model, requests):
    for made, each in zip(
        edit_each(model, requests, METHODS[method], moments=moments_of(model), num_prefixes=2),
        requests,
        strict=True,
    ):
        assert isinstance(made, EditedModel)
        alone = edit(model, [each], METHODS[method], moments=moments_of(model), num_prefixes=2)
        assert made.delta.parts.keys() == alone.delta.parts.keys()
        for name in made.delta.parts:
            ours, theirs = (get_matrix(one.model.spec, name) for one in (made, alone))
            torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=0)


@every_method
def test_a_saved_edit_is_the_same_edit(method, model, requests, tmp_path):
    made = edit(model, requests, METHODS[method], moments=moments_of(model), num_prefixes=1)
    made.save(tmp_path / "edit.safetensors")
    loaded = Delta.load(tmp_path / "edit.safetensors", model)
    assert loaded.digest == made.delta.digest
    assert bits(loaded.apply(model)) == bits(made.model)


@pytest.mark.parametrize(
    ("key", "message"),
    [("weights_hash", "use the model that it was found in"), ("configuration", "another configuration")],
)
def test_a_saved_edit_of_another_model(key, message, model, requests, tmp_path):
    edit(model, requests, METHODS["ft-l"], num_prefixes=1).save(tmp_path / "edit.safetensors")
    other = replace(model, identity={**model.identity, key: "1" * 64})
    with pytest.raises(KCircuitsError, match=message):
        Delta.load(tmp_path / "edit.safetensors", other)


def test_rome_s_keys_get_their_values_though_they_share_a_matrix(model, requests):
    """W'k = Wk + δ for every edit alone; edits after it move it by what their keys have in common."""
    from kcircuits.editing.edit import select_values, tokenise_edits, write_values
    from kcircuits.editing.values import optimise_values

    method = METHODS["rome"]
    edits = tokenise_edits(model, requests, method, 2, 0)
    values = optimise_values(model.spec, edits, 1, VALUE)
    for number in range(2):
        delta = write_values(
            model.spec, [edits[number]], select_values(values, [number]), method, moments_of(model)
        )
        part = delta.parts["layers.1.mlp.w_down"]
        assert isinstance(part, LowRank)
        torch.testing.assert_close(
            part.matrix @ values.key[number], values.delta[number], atol=1e-4, rtol=1e-4
        )
    both = write_values(model.spec, edits, values, method, moments_of(model)).parts["layers.1.mlp.w_down"]
    assert torch.linalg.matrix_rank(both.matrix) == 2
    torch.testing.assert_close(both.matrix @ values.key[1], values.delta[1], atol=1e-4, rtol=1e-4)


def test_memit_with_one_edit_and_one_layer_is_rome(model):
    memit = edit(model, [request()], Memit(over=(1,), weight=1e-7, value=VALUE), moments=moments_of(model))
    rome = edit(model, [request()], Rome(layer=1, value=VALUE), moments=moments_of(model))
    ours, theirs = (get_matrix(one.model.spec, "layers.1.mlp.w_down") for one in (memit, rome))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_fine_tuning_keeps_to_its_heads_and_its_limit(model):
    method = FineTuning("masked", ("a1.h2", "a1.h3"), replace(TUNING, limit=0.01))
    part = edit(model, [request()], method).delta.parts["layers.1.attention.w_o"]
    assert isinstance(part, torch.Tensor)
    assert part[:, :16].abs().max() == 0
    assert 0 < part[:, 16:].abs().max() <= 0.0100001


def test_several_tokens(model):
    for method in METHODS.values():
        made = edit(
            model, [request(target="the old capital")], method, moments=moments_of(model), num_prefixes=0
        )
        probability = answer_of(made.model, request().prompt, "the old capital")
        assert probability > 1.2 * answer_of(model, request().prompt, "the old capital")


@pytest.mark.parametrize("name", ["gpt2", "gptj", "gemma2", "falcon_new", "opt"])
def test_rome_on_other_families(name):
    model = model_named(name)
    method = Rome(layer=1, value=replace(VALUE, steps=60))
    made = edit(model, [request(target="Lima")], method, moments=moments_of(model), num_prefixes=0)
    assert answer_of(made.model, request().prompt, "Lima") > answer_of(model, request().prompt, "Lima")


class TestBadInput:
    def test_no_edit(self, model):
        with pytest.raises(KCircuitsError, match="there are no edits"):
            edit(model, [], Rome(layer=1), moments=moments_of(model))

    @pytest.mark.parametrize("layer", [-1, 3])
    def test_a_layer_that_does_not_exist(self, model, layer):
        with pytest.raises(KCircuitsError, match=f"no layer {layer}"):
            edit(model, [request()], Rome(layer=layer), moments=moments_of(model))

    def test_layers_that_do_not_rise(self, model):
        with pytest.raises(KCircuitsError, match="rising order"):
            edit(model, [request()], Memit(over=(2, 1)), moments=moments_of(model))

    def test_no_moments(self, model):
        with pytest.raises(KCircuitsError, match="second moment"):
            edit(model, [request()], METHODS["rome"])

    def test_what_the_model_says_already(self, model):
        said = read_answers(model, [Question(request().prompt, "Norway")])[0].choices[0]
        word = model.tokenizer.convert_ids_to_tokens(said)
        with pytest.raises(KCircuitsError, match="already"):
            edit(model, [request(target=word, target_true=None)], METHODS["rome"], moments=moments_of(model))

    @pytest.mark.parametrize("node", ["input", "m7", "a0.h9", "logits"])
    def test_nodes_that_cannot_be_tuned(self, model, node):
        with pytest.raises(KCircuitsError, match=node):
            edit(model, [request()], FineTuning("masked", (node,)))

    def test_experts(self):
        with pytest.raises(KCircuitsError, match="mixture of experts"):
            edit(model_named("mixtral"), [request()], Rome(layer=1), moments=identity)

    def test_values_cannot_be_spread_behind_a_norm(self):
        with pytest.raises(KCircuitsError, match="give one"):
            edit(model_named("gemma2"), [request()], Memit(over=(0, 1)), moments=identity)

    def test_a_prompt_that_is_too_long(self, model):
        with pytest.raises(KCircuitsError, match="the model takes at most 64"):
            edit(model, [request(prompt="Paris is " + "a " * 70)], METHODS["ft-m"])
