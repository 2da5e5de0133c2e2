"""The speculative search against the naive one: the same decisions, whatever the chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kcircuits.discovery import Progress
from kcircuits.discovery.acdc import Acdc
from kcircuits.engine import Engine
from kcircuits.errors import KCircuitsError
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task
from tests.discover.naive import Naive
from tests.models import dequantised, quantised_spec, tiny_spec
from tests.tasks import random_prompts_of, reference_metric, reference_runs

LARGE, TINY = 2**30, 1
# Two implementations in float32 may decide differently when an effect is this close to the threshold.
TIE = 2e-6


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# One of every kind of block.
BLOCKS = [
    "gpt2",
    "llama_gqa",
    "llama_biases",
    "mistral_window",
    "gpt_neox",
    "falcon_new",
    "qwen3",
    "gemma2",
    "gemma3",
    "olmo2",
    "mixtral",
    "gpt_oss",
]


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("metric", ["nll", "kl", "logit-diff"])
@settings(max_examples=4, suppress_health_check=list(HealthCheck))
@given(
    ablation=st.sampled_from(["zero", "corrupt"]),
    absolute=st.booleans(),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    seed=st.integers(0, 10_000),
    threshold=st.sampled_from([0.001, 0.003, 0.01, 0.03, 0.1, 0.5]),
)
def test_makes_the_decisions_of_the_naive_search(name, metric, ablation, absolute, lengths, seed, threshold):
    task = Task(random_prompts_of(lengths, seed), ablation, metric)
    spec = tiny_spec(name)
    naive = naive_search(spec, task, absolute, threshold)
    assume(naive.margin > TIE)
    check_all_chunks(spec, task, naive)


@pytest.mark.parametrize("name", ["gpt2", "llama_gqa", "gemma2"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_quantised_weights_are_the_dequantised_ones(name, bits, seed):
    spec = quantised_spec(name, bits)
    task = Task(random_prompts_of([4, 2], seed), "corrupt")
    naive = naive_search(dequantised(spec), task, absolute=False, threshold=0.01)
    assert naive.margin > TIE
    check_all_chunks(spec, task, naive)


def naive_search(spec: ModelSpec, task: Task, absolute: bool, threshold: float) -> Naive:
    run, metric_of = reference_runs(spec, task), reference_metric(spec, task)
    return Naive(
        spec.graph,
        lambda mask: metric_of(run(mask)).double().mean().item(),
        threshold,
        absolute,
        mixes_heads=any(layer.attention_post_norm is not None for layer in spec.layers),
    ).run()


def check_all_chunks(spec: ModelSpec, task: Task, naive: Naive) -> None:
    engine = Engine(spec, task)
    for chunk_limit, memory in [(1, LARGE), (3, TINY), (3, LARGE), (64, TINY), (64, LARGE)]:
        check(engine, naive, memory=memory, chunk_limit=chunk_limit)


@pytest.mark.parametrize("ablation", ["zero", "corrupt"])
def test_two_threads_make_the_same_decisions(ablation):
    spec = tiny_spec("llama_gqa")
    task = Task(random_prompts_of([5, 2]), ablation)
    run, metric_of = reference_runs(spec, task), reference_metric(spec, task)
    naive = Naive(spec.graph, lambda mask: metric_of(run(mask)).double().mean().item(), 0.1, False).run()
    assert naive.margin > TIE
    with threads(2):
        check(Engine(spec, task), naive, memory=LARGE, chunk_limit=64)


def check(engine: Engine, naive: Naive, *, memory: int, chunk_limit: int) -> None:
    """The engine's search ends where the naive one did, by the same tests."""
    result = engine.acdc(
        naive.threshold, absolute=naive.absolute, memory=memory, chunk_limit=chunk_limit, progress=None
    )
    names = engine.graph
    effects = {(names.senders[e.sender], names.receivers[e.receiver]): e.effect for e in result.edges}
    assert effects.keys() == naive.effects.keys()
    assert effects == pytest.approx(naive.effects, abs=1e-4)
    assert result.tests == naive.tests
    assert result.circuit_metric == pytest.approx(naive.value, abs=1e-4)
    assert result.evaluations >= result.tests


def test_chunks_of_one_waste_nothing():
    engine = Engine(tiny_spec("llama"), Task(random_prompts_of([5]), "zero"))
    result = engine.acdc(0.05, absolute=False, memory=LARGE, chunk_limit=1, progress=None)
    assert result.evaluations == result.tests == result.chunks


def test_progress_counts_up_to_the_end():
    spec = tiny_spec("llama_gqa")
    seen: list[Progress] = []
    found = Acdc(0.05).search_with(Engine(spec, Task(random_prompts_of([5]), "zero")), LARGE, seen.append)
    assert [done.layer for done in seen] == sorted((done.layer for done in seen), reverse=True)
    assert seen[0].layer == seen[0].num_layers == 3
    for before, after in pairwise(seen):
        assert before.tests <= after.tests
        assert before.edges_settled <= after.edges_settled
        assert before.edges_left >= after.edges_left
    assert seen[-1].tests == found.stats["tests"]
    assert len(found.edges) <= seen[-1].edges_left <= spec.graph.num_edges


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("enough")])
def test_an_exception_in_the_callback_ends_the_search(error):
    def stop(_):
        raise error

    engine = Engine(tiny_spec("llama"), Task(random_prompts_of([5]), "zero"))
    with pytest.raises(error if isinstance(error, type) else type(error)):
        Acdc(0.05).search_with(engine, LARGE, stop)
    assert Acdc(0.05).search_with(engine, LARGE, None).edges  # the engine is as good as before


@pytest.mark.parametrize("threshold", [-1e-9, float("nan"), float("inf"), "0.1", True])
def test_thresholds_that_make_no_sense(threshold):
    with pytest.raises(KCircuitsError, match="threshold must be a"):
        Acdc(threshold)


def test_a_threshold_of_zero_keeps_what_has_no_effect():
    """At the only position of a prompt, queries and keys change nothing: the metric does not rise by < 0."""
    spec = tiny_spec("llama")
    engine = Engine(spec, Task(random_prompts_of([1]), "zero"))
    kept = {edge.receiver for edge in Acdc(0).search_with(engine, LARGE, None).edges}
    assert any(receiver.endswith("<q>") for receiver in kept)
    removed = {edge.receiver for edge in Acdc(1e-4).search_with(engine, LARGE, None).edges}
    assert not any(receiver.endswith(("<q>", "<k>")) for receiver in removed)
