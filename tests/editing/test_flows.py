"""Flows through nodes against runs in which a node's output is put in by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kcircuits.editing.edit import edit
from kcircuits.editing.facts import fact_prompt
from kcircuits.editing.flows import node_flows
from kcircuits.editing.methods import FineTuning, Rome
from kcircuits.editing.second_moment import identity_moment
from kcircuits.editing.stream import Tokens, finish_layer, run_to_end, run_to_layer, run_to_mlp
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import read_out
from kcircuits.task import Task
from tests.editing.conftest import model_named, request
from tests.editing.test_edit import TUNING, VALUE


def made_of(model, method):
    def moments(layer):
        return identity_moment(model.spec.layers[layer].mlp.w_down.shape[1], layer)

    return edit(model, [request(target="Lima")], method, moments=moments, num_prefixes=0)


def nll_of(spec, prompt, layer=None, original=None):
    """−log p of the answer; with the MLP of a layer writing what it writes in the original."""
    ids = torch.tensor([prompt.clean_ids])
    tokens = Tokens(ids, torch.ones_like(ids, dtype=torch.bool))
    if layer is None:
        rows = run_to_end(spec, run_to_layer(spec, tokens, 0), tokens, 0)
    else:
        before = run_to_mlp(original, tokens, layer)
        written = finish_layer(original, before, layer) - before.stream
        x = run_to_mlp(spec, tokens, layer).stream + written
        rows = run_to_end(spec, x, tokens, layer + 1)
    return -float(read_out(spec, rows[0, -1]).double().log_softmax(-1)[prompt.answer_id])


@pytest.mark.parametrize("name", ["llama_gqa", "gpt2", "gptj", "olmo2"])
def test_what_flows_through_mlps(name):
    model = model_named(name)
    made = made_of(model, Rome(layer=1, value=VALUE))
    prompt = fact_prompt(model, request(), "Lima")
    flows = node_flows(made, Task([prompt]))
    assert flows.before == pytest.approx(nll_of(model.spec, prompt), abs=1e-4)
    assert flows.after == pytest.approx(nll_of(made.model.spec, prompt), abs=1e-4)
    assert flows.through["m1"] == pytest.approx(flows.after - flows.before, abs=1e-4)
    assert flows.shares["m1"] == pytest.approx(1, abs=1e-4)
    without = nll_of(made.model.spec, prompt, 2, model.spec)
    assert flows.through["m2"] == pytest.approx(flows.after - without, abs=1e-4)
    assert abs(flows.after - flows.before) > 0.01
    # Only the edited MLP and what is computed behind it.
    heads = {f"a2.h{head}" for head in range(model.spec.num_heads)}
    assert set(flows.through) == {"m1", "m2"} | heads


def test_one_of_two_edited_nodes_is_not_the_whole(model):
    made = made_of(model, FineTuning("masked", ("m0", "m1"), TUNING))
    flows = node_flows(made, Task([fact_prompt(model, request(), "Lima")]), memory=1)
    assert flows.before != pytest.approx(flows.after)
    assert all(0 != flows.through[node] != flows.after - flows.before for node in ("m0", "m1"))


def test_neighbours_have_flows_too(model):
    made = made_of(model, Rome(layer=1, value=VALUE))
    wanted = request(subject="Rome", prompt="the city Rome lies in")
    prompt = replace(fact_prompt(model, wanted, "Italy"), wrong_id=5)
    nll, difference = (node_flows(made, Task([prompt], metric=metric)) for metric in ("nll", "logit-diff"))
    assert nll.through["m1"] == pytest.approx(nll.after - nll.before, abs=1e-5)
    assert difference.through["m1"] == pytest.approx(difference.after - difference.before, abs=1e-5)
    assert difference.after != pytest.approx(nll.after)


def test_of_several_prompts_flows_are_means(model):
    made = made_of(model, Rome(layer=1, value=VALUE))
    texts = {"Paris": "Lima", "Rome": "Italy"}
    prompts = [
        fact_prompt(model, request(subject=name, prompt=f"the city {name} lies in"), answer)
        for name, answer in texts.items()
    ]
    together = node_flows(made, Task(prompts))
    alone = [node_flows(made, Task([prompt])) for prompt in prompts]
    for name in ("before", "after"):
        assert getattr(together, name) == pytest.approx(sum(getattr(each, name) for each in alone) / 2)
    for node, flow in together.through.items():
        assert flow == pytest.approx(sum(each.through[node] for each in alone) / 2, abs=1e-6)


def test_bad_input(model):
    made = made_of(model, Rome(layer=1, value=VALUE))
    with pytest.raises(KCircuitsError, match=r"task must be a Task, got Prompt\(.*: write "):
        node_flows(made, fact_prompt(model, request(), "Lima"))
    long = replace(fact_prompt(model, request(), "Lima"), clean_ids=(1,) * 65)
    with pytest.raises(KCircuitsError, match="prompt 1: the prompt has 65 tokens"):
        node_flows(made, Task([long]))
