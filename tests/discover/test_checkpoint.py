"""Searches that are stopped and go on: the same result as without, to the last bit."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from kcircuits.circuit import Circuit
from kcircuits.discovery import Eap, discover
from kcircuits.discovery import checkpoint as module
from kcircuits.discovery.acdc import Acdc
from kcircuits.discovery.checkpoint import Checkpoint
from kcircuits.engine import Engine
from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import Model, load_model
from kcircuits.scores.selection import Selection
from kcircuits.task import Task
from tests.experiments import experiment
from tests.models import as_dtype, quantised_spec, tiny_spec
from tests.tasks import random_prompts_of

MEMORY = 2**30
PROMPTS = random_prompts_of([5, 3])


class Stopped(Exception):
    """What a test ends a search with."""


class InMemory:
    """Keeps the last snapshot; asks for one after every chunk, or only when the search is stopped."""

    def __init__(self, *, always: bool) -> None:
        self.snapshot: dict[str, Tensor] | None = None
        self.always = always

    def due(self) -> bool:
        return self.always

    def keep(self, snapshot: Mapping[str, Tensor]) -> None:
        self.snapshot = {name: tensor.clone() for name, tensor in snapshot.items()}


def outcome(result: Any) -> dict[str, Any]:
    """All of a search's result; floats are compared exactly."""
    return {
        "edges": [(edge.sender, edge.receiver, edge.effect) for edge in result.edges],
        "metric": (result.full_metric, result.circuit_metric),
        "stats": (result.tests, result.evaluations, result.chunks),
    }


def search(engine: Engine, threshold: float, chunk_limit: int, **options: Any) -> dict[str, Any]:
    return outcome(engine.acdc(threshold, absolute=False, memory=MEMORY, chunk_limit=chunk_limit, **options))


def stopped_again_and_again(
    engine: Engine, threshold: float, chunk_limit: int, chunks: int
) -> tuple[dict[str, Any], int]:
    """The result of a search that is stopped after every so many chunks, and how often it was."""
    kept = InMemory(always=False)
    stops = 0
    while True:
        left = chunks

        def stop(_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Stopped

        try:
            result = search(engine, threshold, chunk_limit, progress=stop, checkpoint=kept)
            return result, stops
        except Stopped:
            stops += 1


# Learned positions, shared keys, windows, parallel blocks, norms over all heads and behind, experts, sinks.
BLOCKS = ["gpt2", "llama_gqa", "mistral_window", "gpt_neox", "olmo2", "gemma2", "mixtral", "gpt_oss"]


@pytest.mark.parametrize(
    ("ablation", "metric", "threshold"),
    [("zero", "nll", 0.01), ("corrupt", "logit-diff", 0.003), ("zero", "kl", 0.1), ("mean", "nll", 0.01)],
)
@pytest.mark.parametrize("name", BLOCKS)
def test_stopped_after_every_chunk(name, ablation, metric, threshold):
    engine = Engine(tiny_spec(name), Task(PROMPTS, ablation, metric))
    undisturbed = search(engine, threshold, 32, progress=None)
    stopped, stops = stopped_again_and_again(engine, threshold, 32, 1)
    assert stopped == undisturbed
    assert stops == undisturbed["stats"][2] > 10


@pytest.mark.parametrize("chunk_limit", [1, 5])
def test_stopped_within_any_chunk_size(chunk_limit):
    engine = Engine(tiny_spec("llama_gqa"), Task(PROMPTS, "zero"))
    undisturbed = search(engine, 0.01, chunk_limit, progress=None)
    assert stopped_again_and_again(engine, 0.01, chunk_limit, 3)[0] == undisturbed


@pytest.mark.parametrize(
    "spec", [quantised_spec("llama_gqa", 4), as_dtype(tiny_spec("gpt2"), torch.float64)], ids=["q4", "double"]
)
def test_other_numbers(spec):
    engine = Engine(spec, Task(PROMPTS, "corrupt"))
    undisturbed = search(engine, 0.01, 32, progress=None)
    assert stopped_again_and_again(engine, 0.01, 32, 2)[0] == undisturbed


def test_an_engine_made_anew_goes_on_from_any_snapshot():
    spec, task = tiny_spec("llama_gqa"), Task(PROMPTS, "corrupt")
    kept = InMemory(always=True)
    snapshots: list[dict[str, Tensor]] = []

    def collect(_: object) -> None:
        if kept.snapshot is not None:
            snapshots.append(kept.snapshot)

    undisturbed = search(Engine(spec, task), 0.01, 32, progress=collect, checkpoint=kept)
    assert len(snapshots) == undisturbed["stats"][2] - 1
    for snapshot in random.Random(0).sample(snapshots, 8):
        kept.snapshot = snapshot
        kept.always = False
        assert search(Engine(spec, task), 0.01, 32, progress=None, checkpoint=kept) == undisturbed


def test_a_snapshot_leaves_out_what_nobody_reads():
    """Its size follows the circuit that is left, not the model."""
    engine = Engine(tiny_spec("llama"), Task(PROMPTS, "zero"))
    kept = InMemory(always=True)
    edges = search(engine, 1e6, 32, progress=None, checkpoint=kept)["edges"]
    assert edges == []
    assert kept.snapshot is not None
    assert len(kept.snapshot["all_rows"]) == len(kept.snapshot["last_rows"]) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"counts": torch.tensor([9, 0, 0, 0, 0, 0, 0])},
        {"numbers": torch.zeros(3, dtype=torch.float64)},
        {"present": torch.ones(7, dtype=torch.bool)},
        {"candidate_receivers": torch.tensor([10_000])},
        {"all_senders": torch.tensor([-1])},
        {"kept_effects": None},
    ],
)
def test_a_snapshot_that_makes_no_sense_is_refused(change):
    engine = Engine(tiny_spec("llama"), Task(PROMPTS, "zero"))
    kept = InMemory(always=True)
    search(engine, 0.01, 32, progress=None, checkpoint=kept)
    assert kept.snapshot is not None
    changed = kept.snapshot | change
    kept.snapshot = {name: tensor for name, tensor in changed.items() if tensor is not None}
    with pytest.raises(ValueError, match=r"^snapshot: "):
        search(engine, 0.01, 32, progress=None, checkpoint=kept)


@pytest.fixture(scope="module")
def model(tiny_folder) -> Model:
    return load_model(tiny_folder("llama_gqa"))


def without_seconds(circuit: Circuit) -> dict[str, Any]:
    stats = {key: value for key, value in circuit.stats.items() if key != "seconds"}
    return vars(replace(circuit, stats=stats))


def interrupted(model: Model, path: Any, tests: int, memory: int | None = None) -> None:
    def stop(done: Any) -> None:
        if done.tests >= tests:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        task, method = Task(PROMPTS, "zero"), Acdc(threshold=0.01)
        discover(model, task, method, memory=memory, checkpoint=path, progress=stop)


def test_an_interrupted_search_goes_on(model, tmp_path):
    path = tmp_path / "search.ckpt"
    undisturbed = discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.01))
    for tests in (20, 60, 100):
        interrupted(model, path, tests)
    seen: list[int] = []
    resumed = discover(
        model,
        Task(PROMPTS, "zero"),
        Acdc(threshold=0.01),
        checkpoint=path,
        progress=lambda done: seen.append(done.tests),
    )
    assert seen[0] > 100
    assert without_seconds(resumed) == without_seconds(undisturbed)
    assert [file.name for file in tmp_path.iterdir()] == ["search.ckpt"]


def test_a_search_goes_on_with_the_memory_that_it_had(model, tmp_path, monkeypatch):
    """The default follows what is available, and decides which hypotheses are evaluated together."""
    path = tmp_path / "search.ckpt"
    monkeypatch.setattr("kcircuits.runtime.memory.available_memory", lambda: 4)
    tight = discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.01))
    interrupted(model, path, 100)
    monkeypatch.setattr("kcircuits.runtime.memory.available_memory", lambda: 2**30)
    assert (
        discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.01)).stats["chunks"] < tight.stats["chunks"]
    )
    assert without_seconds(
        discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.01), checkpoint=path)
    ) == without_seconds(tight)


OTHER_PROMPTS = random_prompts_of([5, 3], seed=1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"threshold": 0.02}, "threshold is 0.01 there and 0.02 here"),
        ({"prompts": OTHER_PROMPTS}, "prompts is "),
        ({"metric": "kl"}, "metric is 'nll' there and 'kl' here"),
        ({"memory": 1000}, "memory is 1073741824 there and 1000 here"),
        ({"ablation": "mean", "reference": OTHER_PROMPTS}, "ablation is 'zero' there and 'mean' here"),
        ({"fold_value_biases": True}, "fold_value_biases is False there and True here"),
    ],
)
def test_the_checkpoint_of_another_search(model, tmp_path, changes, named):
    path = tmp_path / "search.ckpt"
    interrupted(model, path, 20, memory=MEMORY)
    before = path.read_bytes()
    options = {"prompts": PROMPTS, "threshold": 0.01, "memory": MEMORY} | changes
    with pytest.raises(KCircuitsError, match="checkpoint of another search: " + named):
        memory = options.pop("memory")
        discover(model, *experiment(**options), memory=memory, checkpoint=path, progress=refuse)
    assert path.read_bytes() == before


def test_the_checkpoint_of_another_model(model, tiny_folder, tmp_path):
    path = tmp_path / "search.ckpt"
    interrupted(model, path, 20)
    with pytest.raises(KCircuitsError, match="another search: model is "):
        discover(
            load_model(tiny_folder("gpt2")), Task(PROMPTS, "zero"), Acdc(threshold=0.01), checkpoint=path
        )
    with pytest.raises(KCircuitsError, match="another search: dtype is 'float32' there and "):
        double = replace(model, spec=as_dtype(model.spec, torch.float64))
        discover(double, Task(PROMPTS, "zero"), Acdc(threshold=0.01), checkpoint=path)


def test_other_threads_would_round_otherwise(model, tmp_path):
    path = tmp_path / "search.ckpt"
    interrupted(model, path, 20)
    torch.set_num_threads(2)
    try:
        with pytest.raises(KCircuitsError, match="threads is 1 there and 2 here"):
            discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.01), checkpoint=path)
    finally:
        torch.set_num_threads(1)


def refuse(_: object) -> None:
    raise AssertionError("the search began")


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "header", "another file", "folder"])
def test_a_damaged_checkpoint(model, tmp_path, damage):
    path = tmp_path / "search.ckpt"
    interrupted(model, path, 100)
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "cut": content[:-1],
                "flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
                "header": content.replace(b'"seconds":"0.', b'"seconds":"1.'),
                "another file": b"a diary, and a long one",
            }[damage]
        )
    with pytest.raises(KCircuitsError, match=r"search\.ckpt"):
        discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.01), checkpoint=path, progress=refuse)


def test_what_is_refused_before_the_search(model, tmp_path):
    with pytest.raises(KCircuitsError, match="a checkpoint is for acdc alone, got one for eap"):
        discover(model, Task(PROMPTS, "corrupt"), Eap(), Selection(top_n=5), checkpoint=tmp_path / "c")
    with pytest.raises(KCircuitsError, match="there is no folder"):
        discover(
            model,
            Task(PROMPTS, "zero"),
            Acdc(threshold=0.01),
            checkpoint=tmp_path / "no" / "c",
            progress=refuse,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_quick_search_writes_nothing(model, tmp_path):
    discover(model, Task(PROMPTS, "zero"), Acdc(threshold=1.0), checkpoint=tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seconds", "between"), [(0.001, 1.0), (0.25, 50.0)])
def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch, seconds, between):
    """At most once a second, and more rarely where writing takes long."""
    now = 0.0

    def write(path: object, content: bytes, at_once: bool = False) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(module, "monotonic", lambda: now)
    monkeypatch.setattr(module, "write_atomically", write)
    checkpoint = Checkpoint(tmp_path / "c")
    checkpoint.begin({"memory": 1})
    ended = 0.0
    with checkpoint.searching():
        for expected in (1.0, between, between):
            while not checkpoint.due():
                now += 0.125
            assert expected <= now - ended < expected + 0.125
            checkpoint.keep({})
            ended = now


def test_a_checkpoint_is_found_where_it_was_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(module, "SHARE", 1e9)
    path = tmp_path / "c"
    circuit = discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.01), checkpoint=path)
    checkpoint = Checkpoint(path)
    assert checkpoint.snapshot is not None
    assert 0 < checkpoint.seconds <= circuit.stats["seconds"] + 0.001
    # The last one is of the end, and from there nothing is left to do.
    again = discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.01), checkpoint=path, progress=refuse)
    assert without_seconds(again) == without_seconds(circuit)
    assert again.stats["seconds"] > checkpoint.seconds


def test_the_checkpoint_counts_nothing_as_a_setting(model, tmp_path):
    circuit = discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.01), checkpoint=tmp_path / "c")
    assert circuit.settings == discover(model, Task(PROMPTS, "zero"), Acdc(threshold=0.01)).settings
    assert "checkpoint" not in Acdc(0.01).settings
