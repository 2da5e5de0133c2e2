"""The exact effect of every edge, against one slow run per edge and against ACDC's first test."""

from __future__ import annotations

import numpy as np
import pytest

from kcircuits.discovery import Steps, exact_scores
from kcircuits.discovery.acdc import Acdc
from kcircuits.engine import Engine
from kcircuits.task import Task
from tests.discover.naive import Naive
from tests.models import tiny_spec
from tests.tasks import random_prompts_of, reference_metric, reference_runs

MEMORY = 2**30


def task_of(ablation="corrupt", metric="nll", seed=0):
    return Task(random_prompts_of([4, 2, 5], seed), ablation, metric)


@pytest.mark.parametrize(
    ("name", "ablation", "metric"), [("gpt2", "zero", "nll"), ("llama_gqa", "corrupt", "logit-diff")]
)
def test_effects_are_those_of_a_search_that_removes_nothing(name, ablation, metric):
    """ACDC's tests see the full model as long as no edge has been removed: below −∞ none is."""
    spec, task = tiny_spec(name), task_of(ablation, metric)
    run, metric_of = reference_runs(spec, task), reference_metric(spec, task)
    naive = Naive(spec.graph, lambda mask: metric_of(run(mask)).double().mean().item(), -np.inf, False).run()
    assert len(naive.effects) == spec.graph.num_edges
    scores = exact_scores(spec, task, spec.graph.valid, MEMORY)
    for (sender, receiver), effect in naive.effects.items():
        ours = scores[spec.graph.sender_index(sender), spec.graph.receiver_index(receiver)]
        assert ours == pytest.approx(effect, abs=1e-4), f"{sender}->{receiver}"


@pytest.mark.parametrize("seed", range(4))
def test_the_first_edge_that_acdc_tests(seed):
    """The last MLP's edge into the logits is tested on the full model; it stays, and has its effect."""
    spec, task = tiny_spec("llama_gqa"), task_of("zero", seed=seed)
    graph = spec.graph
    first = f"m{graph.num_layers - 1}"
    effect = exact_scores(spec, task, graph.valid, MEMORY)[graph.sender_index(first), -1]
    threshold = 0.5 * abs(effect)
    edges = Acdc(threshold).search_with(Engine(spec, task), MEMORY, None).edges
    kept = {(edge.sender, edge.receiver): edge.score for edge in edges}
    assert ((first, "logits") in kept) == (effect >= threshold)
    if effect >= threshold:
        assert kept[first, "logits"] == pytest.approx(effect, abs=1e-5)


def test_only_what_is_wanted():
    spec, task = tiny_spec("llama_gqa"), task_of()
    wanted = np.random.default_rng(0).random(spec.graph.valid.shape) < 0.3
    some = exact_scores(spec, task, wanted, MEMORY)
    everything = exact_scores(spec, task, spec.graph.valid, MEMORY)
    assert some == pytest.approx(np.where(wanted, everything, 0), abs=1e-6)
    assert not exact_scores(spec, task, np.zeros_like(wanted), MEMORY).any()


@pytest.mark.parametrize("memory", [1, MEMORY])
def test_progress_counts_edges_whatever_the_portions(memory):
    spec, task = tiny_spec("llama_gqa"), task_of()
    told: list[Steps] = []
    exact_scores(spec, task, spec.graph.valid, memory, told.append)
    done = [step.done for step in told]
    assert done == sorted(done)
    assert done[-1] == spec.graph.num_edges
    assert {(step.total, step.unit) for step in told} == {(spec.graph.num_edges, "edges")}
