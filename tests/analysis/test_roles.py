"""Roles on a model whose heads are known, and the writes that they are made of in every family."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kcircuits.analysis.ablations import ablate_heads, remove_nodes
from kcircuits.analysis.direct_logit_attribution import Unembedding, direct_logits
from kcircuits.analysis.roles.reading import head_roles
from kcircuits.analysis.roles.results import MOST, ratio_of, role_of
from kcircuits.analysis.roles.writes import source_writes
from kcircuits.data.prompts import tokenise
from kcircuits.engine import Engine
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.measure import measure_runs
from kcircuits.task import Task
from tests.analysis.models import PROMPTS, model_of, some_circuit
from tests.analysis.planted import (
    MIXTURE,
    MOVER,
    RELATION_HEAD,
    SUPPRESSOR,
    planted_prompts,
    planted_spec,
)
from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import BUILDERS, tiny_spec

LARGE = 2**30
WITH_SUBJECTS = tuple(replace(prompt, subject=(0, 1)) for prompt in PROMPTS)


@pytest.mark.parametrize("name", BUILDERS)
def test_writes_from_all_tokens_are_the_direct_logit(name):
    spec = tiny_spec(name)
    answers = [prompt.answer_id for prompt in PROMPTS]
    logit = direct_logits(spec, PROMPTS, answers, LARGE).logit
    heads = [s for s, node in enumerate(spec.graph.senders) if node.startswith("a")]
    writes = source_writes(Unembedding.from_spec(spec), Engine(spec, Task(PROMPTS, "zero")), PROMPTS)
    for n, prompt in enumerate(PROMPTS):
        assert writes[n].shape == (len(heads), len(prompt.clean_ids))
        np.testing.assert_allclose(writes[n].sum(axis=1), logit[heads, n], atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def planted():
    return head_roles(model_of(planted_spec()), Task(planted_prompts(), "zero"))


def test_planted_heads_have_their_roles(planted):
    roles = {head.node: head.role for head in planted.heads}
    assert roles == {
        MOVER: "mover",
        RELATION_HEAD: "relation",
        MIXTURE: "mixture",
        SUPPRESSOR: "mover",
    }
    assert [head.node for head in planted.heads][:2] == [MOVER, RELATION_HEAD]
    for head in planted.heads:
        assert head.low <= head.ratio <= head.high
        assert head.roles_by_prompt() == (head.role, head.role)


def test_planted_writes_are_what_was_planted(planted):
    """Above the mean over 7 tokens: a subject's outward feature is in 1 of them, the class in 3."""
    heads = {head.node: head for head in planted.heads}
    close = {"abs": 1e-4}
    assert heads[MOVER].subject_write == pytest.approx((4 * 6 / 7,) * 2, **close)
    assert heads[MOVER].relation_write == pytest.approx((0, 0), **close)
    assert heads[RELATION_HEAD].relation_write == pytest.approx((3 * 4 / 7,) * 2, **close)
    assert heads[MIXTURE].subject_write == pytest.approx((6 / 7 / 4,) * 2, **close)
    assert heads[MIXTURE].relation_write == pytest.approx((4 / 7 / 4,) * 2, **close)
    assert heads[SUPPRESSOR].subject_write == pytest.approx((-0.5 * 6 / 7,) * 2, **close)


def test_planted_ablations(planted):
    """Without the movers the answers of a class cannot be told apart."""
    by_role = {ablation.name: ablation for ablation in planted.ablations}
    assert by_role["mover"].heads == (MOVER, SUPPRESSOR)
    assert planted.full.accuracy == 1
    assert by_role["relation"].means.accuracy == 1
    assert by_role["relation"].means.metric > 2 * planted.full.metric
    assert by_role["mover"].means.metric > planted.full.metric + 0.5
    # Of the relation head's layer the mover is the only other head.
    alone = measure_runs(
        planted_spec(),
        Task(planted_prompts(), "zero"),
        remove_nodes(planted_spec().graph, [MOVER])[None],
        LARGE,
    )[0]
    expected = [alone.mean_metric] * 3
    assert by_role["relation"].random["metric"] == pytest.approx(expected, abs=1e-5)


def test_random_heads_are_of_the_same_layers_and_seeded():
    spec, task = tiny_spec("llama"), Task(PROMPTS, "zero")
    groups = {"some": ["a0.h1", "a2.h0", "a2.h3"], "none": []}
    full, (first,) = ablate_heads(spec, task, groups, draws=4, seed=1, memory=LARGE)
    _, (same,) = ablate_heads(spec, task, groups, draws=4, seed=1, memory=1)
    _, (other,) = ablate_heads(spec, task, groups, draws=4, seed=2, memory=LARGE)
    metrics = [[run.metric for run in each.random] for each in (first, same, other)]
    np.testing.assert_allclose(metrics[0], metrics[1], atol=1e-4)
    assert not np.allclose(metrics[0], metrics[2], atol=1e-3)
    expected = measure_runs(spec, task, remove_nodes(spec.graph, groups["some"])[None], LARGE)[0]
    assert first.run.metric == pytest.approx(expected.metric, abs=1e-5)
    assert full.metric == pytest.approx(measure_runs(spec, task, spec.graph.valid[None], LARGE)[0].metric)


@pytest.mark.parametrize("memory", [1, LARGE])
def test_a_circuit_chooses_the_heads(memory):
    model = model_of("llama_gqa")
    circuit = some_circuit(model, ablation="mean")
    task = Task.as_found(circuit, WITH_SUBJECTS)
    found = head_roles(model, task, circuit, memory=memory, draws=2)
    assert found.settings["ablation"] == "mean"
    assert {head.node for head in found.heads} == {node for node in circuit.nodes if node.startswith("a")}
    assert {mlp.node for mlp in found.mlps} <= set(circuit.nodes)
    assert all(0 < mlp.low <= mlp.logit <= mlp.high for mlp in found.mlps)


def test_the_measure_is_the_nll_whatever_the_metric():
    model, task = model_of("llama"), Task(WITH_SUBJECTS, "corrupt", metric="logit-diff")
    found, expected = (head_roles(model, each, draws=2) for each in (task, replace(task, metric="nll")))
    assert found == expected
    full = measure_runs(model.spec, Task(WITH_SUBJECTS, "zero"), model.spec.graph.valid[None], LARGE)[0]
    assert found.full.metric == pytest.approx(full.mean_metric, abs=1e-5)


def test_special_tokens_in_front_belong_to_no_relation():
    spec = tiny_spec("llama_gqa")
    tokenizer = word_tokenizer("In France they speak French", bos=True)
    prompt = tokenise(
        tokenizer, "In France they speak", "French", vocab_size=61, max_positions=64, subject="France"
    )
    model = replace(model_of(spec), tokenizer=tokenizer)
    (head, *_) = head_roles(model, Task([prompt]), draws=1).heads
    writes = source_writes(Unembedding.from_spec(spec), Engine(spec, Task((prompt,), "zero")), [prompt])[0]
    names = [node for node in spec.graph.senders if node.startswith("a")]
    row = writes[names.index(head.node)]
    assert prompt.subject == (2, 3)
    assert head.subject_write[0] == pytest.approx(row[2])
    assert head.relation_write[0] == pytest.approx(row[[1, 3, 4]].sum())


def test_json(planted, tmp_path):
    planted.save(tmp_path / "roles.json")
    document = json.loads((tmp_path / "roles.json").read_text(), parse_constant=pytest.fail)
    assert document["format"] == "kcircuits-roles/1"
    assert document["heads"][0].keys() >= {"node", "role", "ratio", "low", "high", "subject_write"}
    assert document["ablations"][0].keys() >= {"role", "heads", "metric", "hit", "random_metric"}
    low, mean, high = document["ablations"][0]["random_metric"]
    assert low <= mean <= high
    assert planted.table().role.tolist() == [head["role"] for head in document["heads"]]


def test_ratios_are_cut():
    assert ratio_of(2.0, 0.0) == MOST
    assert ratio_of(0.0, -2.0) == 1 / MOST
    assert ratio_of(0.0, 0.0) == 1
    assert ratio_of(-3.0, 1.5) == 2
    roles = [role_of(ratio) for ratio in (10.0, 10.1, 0.1, 0.09)]
    assert roles == ["mixture", "mover", "mixture", "relation"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"draws": 0}, "draws must"), ({"strongest": 0}, "strongest must"), ({"seed": -1}, "seed must")],
)
def test_bad_input(options, message):
    with pytest.raises(KCircuitsError, match=message):
        head_roles(model_of("llama"), Task(WITH_SUBJECTS), **options)


def test_roles_need_subjects():
    with pytest.raises(KCircuitsError, match="prompt 2 has none"):
        head_roles(model_of("llama"), Task(PROMPTS))
