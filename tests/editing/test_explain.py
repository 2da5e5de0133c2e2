"""Explanations of edits, against plain runs of both models."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from kcircuits.analysis.heads.reading import read_heads
from kcircuits.circuit import Circuit
from kcircuits.discovery import Acdc, Eap, discover
from kcircuits.editing.edit import edit
from kcircuits.editing.explain import default_selection, explain_edit
from kcircuits.editing.explanation import KINDS, NamesChange, first_rise
from kcircuits.editing.facts import fact_prompt
from kcircuits.editing.methods import FineTuning, Memit, Rome
from kcircuits.editing.second_moment import identity_moment
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward
from kcircuits.scores.selection import Selection
from kcircuits.task import Task
from tests.editing.conftest import model_named, request
from tests.editing.test_edit import TUNING, VALUE

OPTIONS = {"selection": Selection(top_n=100, greedy=True)}
ROME = Rome(layer=1, value=VALUE)


def made_of(model, method=ROME, wanted=None):
    def moments(layer):
        return identity_moment(model.spec.layers[layer].mlp.w_down.shape[1], layer)

    return edit(model, wanted or [request()], method, moments=moments, num_prefixes=0)


def logits_of(model, ids):
    tokens = torch.tensor([ids])
    return forward(model.spec, tokens, torch.ones_like(tokens, dtype=torch.bool))[0, -1].double()


def tokens_of(model, *words):
    return [model.tokenizer.convert_tokens_to_ids(word) for word in words]


@pytest.mark.parametrize("name", ["llama_gqa", "gpt2", "gptj", "olmo2"])
def test_shares_add_up_to_one_and_to_the_measured_change(name):
    model = model_named(name)
    made = made_of(model, wanted=[request(target="Lima")])
    found = explain_edit(made, **OPTIONS)
    ids = model.tokenizer(request().prompt)["input_ids"]
    new, old = tokens_of(model, "Lima", "France")
    measured = [
        float(logits[new] - logits[old]) for logits in (logits_of(m, ids) for m in (model, made.model))
    ]
    assert found.logits == pytest.approx(measured, abs=1e-4)
    assert found.total == pytest.approx(measured[1] - measured[0], abs=1e-4)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.table()["share"].sum() == pytest.approx(1)
    assert abs(found.total) > 0.01


def test_heads_are_read_in_both_models(model):
    made = made_of(model)
    found = explain_edit(made, **OPTIONS)
    changes = {each.node: each.change for each in found.changes if "h" in each.node}
    assert [each.after.node for each in found.heads] == sorted(changes, key=lambda n: -abs(changes[n]))[:8]
    prompt = fact_prompt(model, request(), "Norway")
    names = [each.after.node for each in found.heads]
    for when, loaded in (("before", model), ("after", made.model)):
        readings = {
            reading.node: reading
            for reading in read_heads(loaded, Task([prompt]), nodes=names, top=5).readings[0]
            if reading.position == len(prompt.clean_ids) - 1
        }
        assert [getattr(each, when) for each in found.heads] == [readings[name] for name in names]
    assert any(each.before != each.after for each in found.heads)


def test_flows_are_of_the_same_change(model):
    found = explain_edit(made_of(model), **OPTIONS)
    flows = {each.node: each.flow for each in found.changes}
    assert flows["m1"] == pytest.approx(found.total, abs=1e-4)
    assert {flows[each.node] for each in found.changes if each.kind in ("untouched", "constants")} == {0}
    assert all(flows[each.node] for each in found.changes if each.kind.startswith("later"))


def test_an_edit_of_the_last_layer_at_the_last_position_is_all_its_own(model):
    """Behind the last MLP there is nothing that could pass the edit on; the rest is the norm's scale."""
    wanted = request(prompt="the land in the capital Paris")
    made = made_of(model, Rome(layer=2, value=VALUE), [wanted])
    found = explain_edit(made, selection=Selection(top_n=model.spec.graph.num_edges))
    assert found.edited_nodes == ("m2",)
    by_kind = {kind: [each.node for each in found.changes if each.kind == kind] for kind in KINDS}
    assert by_kind["later heads"] == by_kind["later MLPs"] == []
    assert (found.shares["later heads"], found.shares["later MLPs"]) == (0, 0)
    assert found.shares["edited"] > 0.5
    assert found.shares["edited"] + found.shares["untouched"] == pytest.approx(1)


def test_kinds_follow_the_graph(model):
    found = explain_edit(made_of(model, FineTuning("masked", ("a1.h2",), TUNING)), **OPTIONS)
    kinds = {each.node: each.kind for each in found.changes}
    assert found.edited_nodes == ("a1.h2",)
    assert kinds["a1.h2"] == "edited"
    assert {kinds[node] for node in ("input", "m0", "a1.h1", "a1.h3")} == {"untouched"}
    assert {kinds[node] for node in ("m1", "m2")} == {"later MLPs"}
    assert kinds["a2.h0"] == "later heads"


def test_the_mlp_of_a_parallel_layer_does_not_read_its_heads():
    model = model_named("gptj")
    wanted = [request(target="Lima")]
    found = explain_edit(made_of(model, FineTuning("masked", ("a1.h2",), TUNING), wanted), **OPTIONS)
    kinds = {each.node: each.kind for each in found.changes}
    assert (kinds["m1"], kinds["m2"]) == ("untouched", "later MLPs")


def test_curves_are_the_logit_lens_of_both_models(model):
    made = made_of(model)
    found = explain_edit(made, **OPTIONS)
    ids = model.tokenizer(request().prompt)["input_ids"]
    (new,) = tokens_of(model, "Norway")
    subject = ids.index(tokens_of(model, "Paris")[0])
    for curves, edited in ((found.new.before, model), (found.new.after, made.model)):
        for curve, end in ((curves.last, len(ids)), (curves.subject, subject + 1)):
            p = logits_of(edited, ids[:end]).softmax(-1)
            assert curve.probability[-1] == pytest.approx(float(p[new]), rel=1e-3)
            assert curve.rank[-1] == 1 + int((p > p[new]).sum())
            assert len(curve.rank) == 4
    # Layers below the edit see none of it.
    assert found.new.before.subject.rank[:2] == found.new.after.subject.rank[:2]
    assert found.new.before.subject.probability[2] != found.new.after.subject.probability[2]


def test_circuits_are_compared_by_name(model):
    made = made_of(model)
    found = explain_edit(made, **OPTIONS)
    before, after = (
        discover(each, Task([prompt_of(each, answer)], "zero"), Eap(), **OPTIONS)
        for each, answer in ((model, "France"), (made.model, "Norway"))
    )
    assert {*found.edges.lost, *found.edges.kept} == names_of(before)
    assert {*found.edges.added, *found.edges.kept} == names_of(after)
    assert {*found.nodes.lost, *found.nodes.kept} == set(before.nodes)
    assert {*found.nodes.added, *found.nodes.kept} == set(after.nodes)
    assert found.edges.added
    assert found.edges.lost


def test_by_default_one_in_a_hundred_edges_is_taken(model):
    made = made_of(model)
    selection = default_selection(model.spec.graph)
    assert selection == Selection(top_n=200, greedy=True)
    assert explain_edit(made) == explain_edit(made, selection=selection)


def test_a_method_that_searches_takes_no_selection(model):
    made, method = made_of(model), Acdc(threshold=0.1)
    found = explain_edit(made, method=method)
    before = discover(model, Task([prompt_of(model, "France")], "zero"), method)
    assert {*found.edges.lost, *found.edges.kept} == names_of(before)
    assert found.settings == {"method": "acdc", "threshold": 0.1, "absolute": False}
    with pytest.raises(KCircuitsError, match="acdc does not score all edges, so there is nothing to select"):
        explain_edit(made, method=method, **OPTIONS)
    with pytest.raises(KCircuitsError, match=r"method must be an object such as .*, got 'eap'"):
        explain_edit(made, method="eap")


def prompt_of(model, answer):
    from kcircuits.editing.facts import fact_prompt

    return fact_prompt(model, request(), answer)


def names_of(circuit: Circuit) -> set[str]:
    return {f"{edge.sender}->{edge.receiver}" for edge in circuit.edges}


def test_an_edit_of_nothing_explains_nothing(model):
    made = made_of(model)
    part = made.delta.parts["layers.1.mlp.w_down"]
    nothing = replace(made.delta, parts={"layers.1.mlp.w_down": replace(part, left=0 * part.left)})
    found = explain_edit(replace(made, delta=nothing), **OPTIONS)
    assert (found.total, found.shares) == (0, None)
    assert found.table()["share"].isna().all()
    assert (found.subject_rise, found.last_rise, found.subject_lead) == (None, None, None)


def test_without_a_true_object_the_old_one_is_what_the_model_says(model):
    wanted = request(target_true=None)
    found = explain_edit(made_of(model, wanted=[wanted]), **OPTIONS)
    said = int(logits_of(model, model.tokenizer(wanted.prompt)["input_ids"]).argmax())
    assert found.prompt.wrong == model.tokenizer.decode([said])
    assert found.old.before.last.rank[-1] == 1


def test_several_edits_in_one_model(model, requests):
    made = made_of(model, Memit(over=(0, 1), weight=1e-4, value=VALUE), requests)
    second = explain_edit(made, requests[1], **OPTIONS)
    assert second.edited_nodes == ("m0", "m1")
    assert second.prompt.answer == "Peru"
    assert explain_edit(replace(made, failed={0: "diverged"}), **OPTIONS).prompt == second.prompt
    for wanted, failed in ((request(target="Lima"), {}), (requests[0], {0: "diverged"})):
        with pytest.raises(KCircuitsError, match="does not contain"):
            explain_edit(replace(made, failed=failed), wanted, **OPTIONS)


def test_objects_that_begin_alike(model):
    made = made_of(model, wanted=[request(target="Norway Italy", target_true="Norway Peru")])
    with pytest.raises(KCircuitsError, match="'Norway'"):
        explain_edit(made, **OPTIONS)


@pytest.mark.parametrize(
    ("before", "after", "layer"),
    [
        ([50, 50, 50], [50, 50, 9], 1),
        ([50, 50, 50], [50, 9, 50], 0),
        ([50, 5, 50], [50, 3, 50], None),
        ([50, 10, 50], [50, 10, 50], None),
        ([50, 10, 50], [50, 9.5, 50], 0),
    ],
)
def test_the_first_layer_behind_which_a_rank_rises(before, after, layer):
    assert first_rise(before, after) == layer


def test_the_subject_leads(model):
    found = explain_edit(made_of(model), **OPTIONS)

    def curves(pair, place, ranks):
        return replace(pair, **{place: replace(getattr(pair, place), rank=ranks)})

    before = curves(curves(found.new.before, "subject", (50,) * 4), "last", (50,) * 4)
    after = curves(curves(found.new.after, "subject", (50, 4, 4, 4)), "last", (50, 50, 50, 4))
    led = replace(found, new=replace(found.new, before=before, after=after))
    assert (led.subject_rise, led.last_rise, led.subject_lead) == (0, 2, 2)


def test_names():
    change = NamesChange.compare(["a", "b"], ["b", "c"])
    assert change.to_json() == {"added": ["c"], "lost": ["a"], "kept": ["b"]}


def test_the_file_is_the_explanation(model, tmp_path):
    found = explain_edit(made_of(model), **OPTIONS)
    found.save(tmp_path / "explain.json")
    read = json.loads((tmp_path / "explain.json").read_text())
    assert read == found.to_json()
    assert read["model"] != read["edited"]
    settings = {"method": "eap", "qk_fix": False, "top_n": 100, "greedy": True, "level": "edge"}
    assert read["settings"].items() >= settings.items()
