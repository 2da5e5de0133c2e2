"""Direct logits, ranks and top tokens of nodes against the reference forward, in every family."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from kcircuits.analysis.direct_logit_attribution import Unembedding, direct_logits
from kcircuits.analysis.heads.nodes import read_nodes
from kcircuits.analysis.heads.reading import edges_into, read_heads
from kcircuits.engine import Engine
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward_senders, normalise, read_out
from kcircuits.model.quantised import dense
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task
from tests.analysis.models import PROMPTS, model_of, some_circuit
from tests.circuits import circuit_of
from tests.covers import every_value
from tests.models import BUILDERS, quantised_spec, tiny_spec

LARGE = 2**30


def uncapped(spec: ModelSpec) -> ModelSpec:
    return replace(spec, logit_soft_cap=None)


def reference(spec: ModelSpec, prompt):
    """A prompt's senders [S, T, D], last streams [T, D] and logits [T, V], before a cap."""
    ids = torch.tensor([prompt.clean_ids])
    run = forward_senders(uncapped(spec), ids, torch.ones_like(ids, dtype=torch.bool))
    return run.senders[:, 0], run.streams[-1][0], run.logits[0]


@pytest.mark.parametrize("name", BUILDERS)
def test_senders_and_output_biases_are_the_stream(name):
    spec = tiny_spec(name)
    senders = Engine(spec, Task(PROMPTS, "zero")).senders()
    biases = sum(
        (layer.attention.b_o for layer in spec.layers if layer.attention.b_o is not None),
        torch.zeros(spec.width),
    )
    expected = torch.cat([reference(spec, prompt)[1] for prompt in PROMPTS])
    torch.testing.assert_close(senders.sum(dim=0) + biases, expected, atol=1e-4, rtol=1e-4)


@every_value(name=list(BUILDERS), memory=[1, LARGE])
def test_direct_logits_add_up_to_the_logit_above_the_mean(name, memory):
    spec = tiny_spec(name)
    answers = [prompt.answer_id for prompt in PROMPTS]
    found = direct_logits(spec, PROMPTS, answers, memory)
    last = torch.stack([reference(spec, prompt)[2][-1] for prompt in PROMPTS])
    expected = last[range(3), answers] - last.mean(dim=1)
    np.testing.assert_allclose(found.total, expected, atol=1e-4, rtol=1e-4)


def slow_reading(spec: ModelSpec, senders: torch.Tensor, stream: torch.Tensor):
    """Logits of every sender at every position, [S, T, V], above the mean, at the stream's scale."""
    norm = replace(spec.final_norm, bias=None)
    x = stream - stream.mean(-1, keepdim=True) if norm.kind == "layernorm" else stream
    parts = senders - senders.mean(-1, keepdim=True) if norm.kind == "layernorm" else senders
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + norm.eps)
    logits = (parts * scale * (1 if norm.weight is None else norm.weight)) @ dense(
        spec.unembedding
    ).float().t()
    return logits - logits.mean(-1, keepdim=True)


@pytest.mark.parametrize("name", [*BUILDERS, "quantised"])
def test_ranks_and_top_tokens_are_those_of_a_full_sort(name):
    spec = quantised_spec("llama_gqa", 8) if name == "quantised" else tiny_spec(name)
    unembedding = Unembedding.from_spec(spec)
    for prompt in PROMPTS:
        senders, stream, _ = reference(spec, prompt)
        nodes = torch.tensor([0, 2, 3, 4, len(senders) - 1])
        targets = torch.full((len(stream),), prompt.answer_id)
        read = read_nodes(unembedding, senders, nodes, targets, top=4)
        logits = slow_reading(spec, senders, stream)[nodes]
        order = logits.argsort(dim=-1, descending=True)
        rank = 1 + (order == prompt.answer_id).long().argmax(dim=-1)
        assert read.rank.tolist() == rank.tolist()
        assert read.top_ids.tolist() == order[..., :4].tolist()
        close = {"atol": 1e-4, "rtol": 1e-4, "check_dtype": False}
        torch.testing.assert_close(read.logit, logits[..., prompt.answer_id], **close)
        torch.testing.assert_close(read.top_logits, logits.gather(-1, order)[..., :4], **close)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "llama_gqa", "opt"])
def test_shares_of_all_nodes_and_constants_are_one(name):
    model = model_of(name)
    found = read_heads(model, Task(PROMPTS), nodes=model.spec.graph.senders)
    for n, prompt in enumerate(PROMPTS):
        last = [each for each in found.readings[n] if each.position == len(prompt.clean_ids) - 1]
        constant = direct_logits(model.spec, [prompt], [prompt.answer_id], LARGE)
        total = sum(each.share for each in last) + constant.constant[0] / constant.total[0]
        assert total == pytest.approx(1, abs=1e-4)
        by_node = {each.node: each.logit for each in last}
        np.testing.assert_allclose(
            [by_node[node] for node in model.spec.graph.senders], found.direct[:, n], atol=1e-4
        )


@pytest.mark.parametrize("memory", [1, LARGE])
def test_attention_and_positions(memory):
    model = model_of("llama_gqa")
    found = read_heads(model, Task(PROMPTS), nodes=["m1", "a1.h3", "input"], memory=memory)
    engine = Engine(model.spec, Task(PROMPTS, "zero"))
    pattern = engine.attention(1)[0][3]
    for n, prompt in enumerate(PROMPTS):
        length = len(prompt.clean_ids)
        wanted = {length - 1} | ({prompt.subject[1] - 1} if prompt.subject else set())
        assert {each.position for each in found.readings[n]} == wanted
        for each in found.readings[n]:
            if each.node == "a1.h3":
                assert each.attention == tuple(pattern[n, each.position, :length].tolist())
            else:
                assert each.attention is None


def test_all_positions_without_a_copy_are_the_same():
    model = model_of("gpt2")
    every = read_heads(model, Task(PROMPTS), all_positions=True, strongest=5)
    few = read_heads(model, Task(PROMPTS), strongest=5)
    for all_of, few_of in zip(every.readings, few.readings, strict=True):
        by_place = {(each.node, each.position): each for each in all_of}
        for each in few_of:
            same = by_place[each.node, each.position]
            assert same.rank == each.rank
            assert same.logit == pytest.approx(each.logit, abs=1e-5)


def test_which_nodes():
    model = model_of("llama_gqa")
    circuit = some_circuit(model, ablation="zero")
    names = {each.node for each in read_heads(model, Task(PROMPTS), circuit).readings[0]}
    assert names == set(circuit.nodes) - {"logits"}
    found = read_heads(model, Task(PROMPTS), strongest=3)
    order = np.abs(found.direct).mean(axis=1).argsort()[::-1]
    assert {each.node for each in found.readings[0]} == {model.spec.graph.senders[s] for s in order[:3]}
    strengths = [abs(each.logit) for each in found.readings[1]]
    assert strengths == sorted(strengths, reverse=True)


def test_what_feeds_a_node():
    graph = tiny_spec("llama_gqa").graph  # heads 0 and 1 share a key
    circuit = circuit_of(
        graph,
        "input->a0.h0<k> 0.1",
        "input->a0.h1<q> -0.5",
        "input->a0.h2<q> 3",
        "a0.h1->m0 1",
        "m0->logits 2",
    )
    assert [(edge.receiver, edge.score) for edge in edges_into(circuit, "a0.h1")] == [
        ("a0.h1<q>", -0.5),
        ("a0.h0<k>", 0.1),
    ]
    assert [edge.sender for edge in edges_into(circuit, "logits")] == ["m0"]
    with pytest.raises(KCircuitsError, match=r"the circuit has no node 'm1'; it has 5"):
        edges_into(circuit, "m1")


def test_json_is_finite_and_complete(tmp_path):
    model = model_of("llama_gqa")
    circuit = some_circuit(model, ablation="zero")
    found = read_heads(model, Task(PROMPTS), circuit, into="logits", top=3, strongest=4)
    found.save(tmp_path / "heads.json")
    document = json.loads((tmp_path / "heads.json").read_text(), parse_constant=pytest.fail)
    assert document["format"] == "kcircuits-heads/1"
    assert document["into"][0].keys() == {"src", "dst", "score"}
    for prompt, text in zip(document["prompts"], PROMPTS, strict=True):
        assert len(prompt["nodes"]) == 4 * (2 if text.subject else 1)
        for node in prompt["nodes"]:
            assert len(node["top"]) == 3
            assert node["node"].startswith("a") == (node["attention"] is not None)
    assert len(found.table()) == sum(len(prompt["nodes"]) for prompt in document["prompts"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": ["a9.h0"]}, "no sender 'a9.h0'"),
        ({"into": "m1"}, "into 'm1' lists edges of a circuit"),
        ({"top": 0}, "top must be a whole number"),
        ({"strongest": 0}, "strongest must be a whole number"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(KCircuitsError, match=message):
        read_heads(model_of("llama"), Task(PROMPTS), **options)


def test_a_stream_of_one_node_is_read_as_the_model_reads_it():
    """With no other node and no bias, what a node writes is the prediction."""
    spec = tiny_spec("llama")
    stream = torch.randn(2, spec.width)
    senders = torch.stack([stream, torch.zeros_like(stream)])
    read = read_nodes(Unembedding.from_spec(spec), senders, torch.tensor([0]), torch.tensor([5, 6]), top=1)
    logits = read_out(spec, normalise(spec.final_norm, stream))
    torch.testing.assert_close(
        read.logit[0].float(), logits[[0, 1], [5, 6]] - logits.mean(dim=1), atol=1e-4, rtol=1e-4
    )
    assert read.top_ids[0, :, 0].tolist() == logits.argmax(dim=1).tolist()
