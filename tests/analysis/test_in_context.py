"""Circuits of the same questions without and with examples, on a tiny random model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kcircuits.analysis.ablations import ablate_heads
from kcircuits.analysis.in_context.reading import in_context_learning
from kcircuits.data.few_shot import PARTS, few_shot_pairs
from kcircuits.data.lre import parse_relation
from kcircuits.discovery import Acdc, Eap, EapIg, discover
from kcircuits.engine import Engine
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import answer_ranks
from kcircuits.scores.selection import Selection
from kcircuits.task import Task
from tests.analysis.models import model_of
from tests.data.tiny_tokenizers import word_tokenizer

FACTS = {"France": "French", "Spain": "Spanish", "Italy": "Italian", "Poland": "Polish"}
RELATION = parse_relation(
    {
        "name": "language",
        "prompt_templates": ["In {} they speak"],
        "samples": [{"subject": subject, "object": answer} for subject, answer in FACTS.items()],
    }
)
WORDS = "In they speak " + " ".join([*FACTS, *FACTS.values()])
LARGE = 2**30


@pytest.fixture(scope="module")
def model():
    return replace(model_of("llama_gqa"), tokenizer=word_tokenizer(WORDS))


@pytest.fixture(scope="module")
def pairs(model):
    spec = model.spec
    return few_shot_pairs(RELATION, model.tokenizer, spec.vocab_size, spec.max_positions, shots=2)


@pytest.fixture(scope="module")
def found(model, pairs):
    return in_context_learning(model, pairs, Eap(), selection=Selection(top_n=25), draws=3)


def test_added_heads_are_those_of_one_circuit_alone(model, pairs, found):
    zero, few = (
        discover(model, Task([getattr(pair, name) for pair in pairs], "mean"), Eap(), Selection(top_n=25))
        for name in ("zero_shot", "few_shot")
    )
    added = {node for node in set(few.nodes) - set(zero.nodes) if node.startswith("a")}
    assert added
    assert {head.node for head in found.added} == added
    strengths = [head.strength for head in found.added]
    assert strengths == sorted(strengths, reverse=True)
    head = found.added[0]
    assert head.strength == pytest.approx(
        sum(abs(edge.score) for edge in few.edges if edge.sender == head.node)
    )


@pytest.mark.parametrize("memory", [1, LARGE])
def test_attention_by_part(model, pairs, found, memory):
    again = in_context_learning(model, pairs, Eap(), selection=Selection(top_n=25), draws=3, memory=memory)
    engine = Engine(model.spec, Task(tuple(pair.few_shot for pair in pairs), "zero"))
    assert [head.node for head in again.added] == [head.node for head in found.added]
    for head in again.added:
        layer, index = head.node[1:].split(".h")
        pattern = engine.attention(int(layer))[0][int(index)]
        for part in PARTS:
            expected = [
                sum(
                    pattern[n, len(pair.parts) - 1, t].item() for t, of in enumerate(pair.parts) if of == part
                )
                for n, pair in enumerate(pairs)
            ]
            assert head.attention[part] == pytest.approx(sum(expected) / len(pairs), abs=1e-5)
        assert sum(head.attention.values()) == pytest.approx(1, abs=1e-5)


def test_what_added_heads_are_worth(model, pairs, found):
    heads = [head.node for head in found.added]
    for name in ("zero-shot", "few-shot"):
        prompts = tuple(getattr(pair, name.replace("-", "_")) for pair in pairs)
        ranks = answer_ranks(model, prompts)
        assert found.runs[name].accuracy == sum(rank <= 1 for rank in ranks) / len(ranks)
        assert found.runs[name].hit == sum(rank <= 10 for rank in ranks) / len(ranks)
        _, (expected,) = ablate_heads(
            model.spec, Task(prompts, "mean"), {"added": heads}, draws=3, seed=0, memory=LARGE
        )
        ablation = found.ablations[name]
        assert ablation.heads == tuple(heads)
        assert ablation.means.metric == pytest.approx(expected.run.mean_metric, abs=1e-5)
        drawn = [run.mean_metric for run in expected.random]
        spread = [min(drawn), sum(drawn) / len(drawn), max(drawn)]
        assert ablation.random["metric"] == pytest.approx(spread, abs=1e-5)


def test_no_head_is_added(model, pairs):
    """With all edges both circuits have all heads."""
    every = Selection(top_n=model.spec.graph.num_edges)
    found = in_context_learning(model, pairs, Eap(), selection=every, draws=2)
    assert found.added == ()
    assert found.ablations == {"zero-shot": None, "few-shot": None}
    assert len(found.table()) == 0


def test_json(found, tmp_path):
    found.save(tmp_path / "icl.json")
    document = json.loads((tmp_path / "icl.json").read_text(), parse_constant=pytest.fail)
    assert document["format"] == "kcircuits-icl/1"
    assert document["circuits"]["few-shot"]["edges"] == len(found.circuits["few-shot"].edges)
    assert document["ablations"]["few-shot"].keys() >= {"heads", "accuracy", "random_accuracy"}
    assert document["added"][0]["attention"].keys() == set(PARTS)
    assert len(found.table()) == len(found.added)


def test_the_method_and_the_selection_are_recorded(model, pairs):
    selection = Selection(top_n=40, greedy=True)
    found = in_context_learning(model, pairs, EapIg(steps=3), selection=selection, draws=1)
    expected = discover(model, Task([pair.zero_shot for pair in pairs], "mean"), EapIg(steps=3), selection)
    assert found.circuits["zero-shot"].edges == expected.edges
    recorded = {"method": "eap-ig-inputs", "ig_steps": 3, "top_n": 40, "greedy": True, "ablation": "mean"}
    assert found.settings.items() >= recorded.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "eap"}, "method must be an object such as .*, got 'eap'"),
        ({"method": Acdc()}, "acdc does not score all edges, so there is nothing to select from"),
        ({"ablation": "corrupt"}, "have no corrupt prompts"),
        ({"draws": 0}, "draws must be a whole number"),
    ],
)
def test_bad_input(model, pairs, options, message):
    with pytest.raises(KCircuitsError, match=message):
        in_context_learning(model, pairs, **options)


def test_no_questions(model):
    with pytest.raises(KCircuitsError, match="there are no questions"):
        in_context_learning(model, [])
