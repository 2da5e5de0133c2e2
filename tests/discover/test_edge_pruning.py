"""Training a mask over all edges: what comes out, when it ends, and what it is better than."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kcircuits.circuit.random_circuits import random_connected_mask
from kcircuits.discovery import Steps, discover, gate_training
from kcircuits.discovery.edge_pruning import EdgePruning
from kcircuits.engine import Engine
from kcircuits.errors import KCircuitsError
from kcircuits.graph.paths import prune_mask
from kcircuits.model.loading import load_model
from kcircuits.scores import Scores
from kcircuits.task import Task
from tests.models import tiny_spec
from tests.tasks import random_prompts_of

MEMORY = 2**30
PROMPTS = random_prompts_of([5, 3])


def found(name="llama_gqa", progress=None, ablation="corrupt", **options):
    spec = tiny_spec(name)
    method = EdgePruning(**{"top_n": spec.graph.num_edges // 2, "steps": 25} | options)
    return method.search(spec, Task(PROMPTS, ablation), MEMORY, progress)


def mask_of(graph, edges):
    mask = np.zeros_like(graph.valid)
    for edge in edges:
        mask[graph.sender_index(edge.sender), graph.receiver_index(edge.receiver)] = True
    return mask


def test_the_seed_decides():
    first, again, other = (found(seed=seed, steps=10).edges for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize(("name", "ablation"), [("gpt2", "zero"), ("llama_gqa", "corrupt")])
def test_half_of_the_edges_is_better_than_random_halves(name, ablation):
    spec = tiny_spec(name)
    result = found(name, ablation=ablation, steps=200)
    circuit = mask_of(spec.graph, result.edges)
    assert circuit.sum() > 0.4 * spec.graph.num_edges
    rng = np.random.default_rng(0)
    random = [random_connected_mask(spec.graph, int(circuit.sum()), rng) for _ in range(20)]
    engine = Engine(spec, Task(PROMPTS, ablation))
    full, ours, *others = engine.measure(np.stack([spec.graph.valid, circuit, *random]), MEMORY)
    assert ours < min(others)
    assert ours - full < 0.25 * (np.mean(others) - full)


def test_what_is_kept():
    graph = tiny_spec("llama_gqa").graph
    result = found(top_n=100)
    assert result.scores is not None
    mask = mask_of(graph, result.edges)
    assert len(result.edges) <= 100
    assert (prune_mask(graph, mask) == mask).all()
    assert not result.scores[~graph.valid].any()
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    kept = np.sort(result.scores[graph.valid])[-100:]
    assert all(edge.score >= kept[0] for edge in result.edges)


def test_the_number_of_open_gates_falls_to_the_goal():
    told: list[Steps] = []
    result = found(steps=120, top_n=80, progress=told.append)
    assert result.scores is not None
    assert result.scores.sum() == pytest.approx(80, rel=0.25)
    assert [step.done for step in told] == list(range(1, result.stats["steps"] + 1))
    assert {(step.total, step.unit) for step in told} == {(120, "training steps")}
    open_gates = [int(step.note.partition(" ")[0]) for step in told]
    assert open_gates[0] > 0.9 * tiny_spec("llama_gqa").graph.num_edges
    assert all("edges open, loss " in step.note for step in told)
    start, middle, end = (np.mean(part) for part in np.array_split(open_gates, 3))
    assert start > middle > end


def test_training_ends_early_when_nothing_gets_better(monkeypatch):
    monkeypatch.setattr(gate_training, "PATIENCE", 3)
    monkeypatch.setattr(gate_training, "WARM_UP", 0.2)
    steps = found(steps=60).stats["steps"]
    assert 0.2 * 60 + 3 <= steps < 60


def test_an_exception_of_the_progress_function_ends_the_training():
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(progress=stop)


def test_discover_records_it_and_writes_the_probabilities(tiny_folder, tmp_path):
    file = tmp_path / "scores.safetensors"
    model = load_model(tiny_folder("gpt2"))
    circuit = discover(
        model, Task(PROMPTS, "zero", metric="kl"), EdgePruning(top_n=120, steps=20), scores=file
    )
    assert circuit.stats.keys() == {"steps", "seconds"}
    own = {"top_n": 120, "steps": 20, "learning_rate": 0.3, "seed": 0}
    assert circuit.settings.items() >= (own | {"ablation": "zero", "metric": "kl"}).items()
    scores = Scores.load(file)
    assert scores.edges(circuit.mask()) == circuit.edges
    assert (scores.method, scores.settings) == ("edge-pruning", circuit.settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_n": 0}, "top-n must be a whole number from 1 on, got 0"),
        ({"top_n": 2.5}, "top-n must be a whole number"),
        ({"steps": 0}, "steps must be a whole number, at least 1; got 0"),
        ({"steps": True}, "steps must be a whole number"),
        ({"learning_rate": 0}, "learning_rate must be a positive number, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number, got nan"),
        ({"seed": -1}, "seed must be a whole number, at least 0; got -1"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(KCircuitsError, match=message):
        EdgePruning(**{"top_n": 10} | options)


def test_ablation_that_changes_nothing_is_an_error():
    spec = tiny_spec("llama")
    blind = replace(spec, embedding=spec.embedding[:1].expand_as(spec.embedding).contiguous())
    with pytest.raises(KCircuitsError, match="ablating every edge changes nothing on these prompts"):
        EdgePruning(top_n=5).search(blind, Task(PROMPTS, "corrupt"), MEMORY, None)
