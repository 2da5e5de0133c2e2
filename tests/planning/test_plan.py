"""What is planned against what happens, and the command that says it."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import pytest
import torch

from kcircuits.discovery import METHODS, Eap, EapIg, EdgePruning, attribute, discover
from kcircuits.errors import KCircuitsError
from kcircuits.model.families import spec_of
from kcircuits.model.loading import Model
from kcircuits.planning import plan
from kcircuits.planning.memory import Sizes, weights_bytes
from kcircuits.task import Task
from tests.circuits import identity_for
from tests.experiments import experiment
from tests.models import build, llama, tiny_spec
from tests.tasks import random_prompts_of

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
OPTIONS = {"acdc": {"threshold": 0.05}, "edge-pruning": {"top_n": 100, "steps": 3}}


@pytest.fixture(scope="module")
def model() -> Model:
    """Large enough that activations, not the interpreter, are what takes memory."""
    sizes = {
        "num_hidden_layers": 6,
        "hidden_size": 512,
        "intermediate_size": 1024,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
    }
    spec = spec_of(build(lambda: llama(**sizes)))
    return Model(spec, None, identity_for(spec.graph))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_plan(method):
    spec = tiny_spec("llama_gqa")
    asked = experiment(random_prompts_of([5, 3]), method, ablation="corrupt", **OPTIONS.get(method, {}))
    made = plan(Model(spec, None, {}), *asked[:2], memory="64MiB")
    assert (made.num_edges, made.num_senders, made.num_receivers) == (spec.graph.num_edges, 16, 28)
    assert (made.num_prompts, made.num_tokens, made.portions) == (2, 8, 1)
    assert sum(map(bool, (made.runs, made.tests_at_most, made.steps))) == (method != "ifr")
    assert made.peak == made.weights + max(made.engine + made.workspace, made.measuring)
    assert (made.senders, made.blocks, made.host) == ("memory", 1, 0)
    assert made.engine + made.workspace < made.memory
    assert made.seconds is not None and made.seconds > 0
    assert made.to_json()["peak"] == made.peak


def test_weights_count_once(model):
    spec = tiny_spec("llama_tied")
    numbers = sum(p.numel() for p in build(lambda: llama(tie_word_embeddings=True)).parameters())
    rotary = 4 * spec.head_dim // 2
    assert weights_bytes(spec) == 4 * numbers + rotary


def test_more_prompts_than_fit_come_in_portions():
    spec = tiny_spec("llama")
    prompts = random_prompts_of([6] * 20)
    one = Sizes.of(spec, True, prompts[:1])
    made = plan(
        Model(spec, None, {}), Task(prompts, "corrupt"), Eap(), memory=8 * one.engine, calibrate=False
    )
    assert made.portions == made.runs == 5
    assert made.seconds is None
    whole = plan(
        Model(spec, None, {}),
        Task(prompts, "zero"),
        EdgePruning(top_n=9),
        memory=8 * one.engine,
        calibrate=False,
    )
    assert whole.portions == 1


@pytest.mark.parametrize("method", ["eap-ig-inputs", "eap-ig-activations", "edge-pruning"])
def test_the_peak_is_about_what_was_planned(model, method):
    """Within a third here, where the interpreter's own few megabytes count; the benchmark has large cases."""
    prompts = random_prompts_of([16] * 16)
    options = OPTIONS.get(method, {"top_n": 400})
    memory = "512MiB" if method == "edge-pruning" else "256MiB"
    task, made, *_ = experiment(prompts, method, ablation="corrupt", **options)
    planned = plan(model, task, made, memory=memory, calibrate=False)
    run = lambda: attribute(model, task, made, memory=memory)  # noqa: E731
    if method == "edge-pruning":
        whole = replace(made, top_n=model.spec.graph.num_edges)
        run = lambda: discover(model, task, whole, memory=memory)  # noqa: E731
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    run()
    peak = status("VmHWM") - before
    assert 0.66 < peak / (planned.engine + planned.workspace) < 1.33


PEAK = """
from tests.planning.test_plan import deep_model, status
from kcircuits.discovery import attribute
from kcircuits.planning import plan
from tests.tasks import random_prompts_of
model, prompts = deep_model(), random_prompts_of([160])
from kcircuits import Eap, Task
task, method = Task(prompts, "corrupt"), Eap(senders="{senders}")
attribute(model, Task(random_prompts_of([8]), "corrupt"), Eap())  # what the first run loads stays
planned = plan(model, task, method, calibrate=False, memory="{memory}")
import ctypes, pathlib
ctypes.CDLL(None).malloc_trim(0)
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
attribute(model, task, method, memory="{memory}")
print(planned.senders, planned.blocks, (status("VmHWM") - before) / (planned.engine + planned.workspace))
"""


def deep_model() -> Model:
    """Many heads, so that senders are most of what is kept."""
    sizes = {"hidden_size": 512, "intermediate_size": 512, "num_hidden_layers": 12}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 256}
    spec = spec_of(build(lambda: llama(**sizes, **heads)))
    return Model(spec, None, identity_for(spec.graph))


@pytest.mark.parametrize(
    ("senders", "memory", "chosen"),
    [("auto", "1GiB", "memory"), ("bfloat16", "400MiB", "bfloat16"), ("auto", "250MiB", "recomputed")],
)
def test_the_peak_of_a_layout(senders, memory, chosen):
    """In a process of its own, whose memory nobody has used before."""
    run = [sys.executable, "-c", PEAK.format(senders=senders, memory=memory)]
    done = subprocess.run(run, check=True, capture_output=True, text=True, env=ENVIRONMENT)
    layout, blocks, ratio = done.stdout.split()
    assert layout == chosen
    assert (int(blocks) > 1) == (layout != "memory")
    assert 0.75 < float(ratio) < 1.15  # what the allocator has at hand varies


def status(name: str) -> int:
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) * 1024


def test_the_time_is_about_what_was_planned(model):
    prompts = random_prompts_of([16] * 8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        planned = plan(model, Task(prompts, "corrupt"), EapIg(steps=20))
        start = perf_counter()
        attribute(model, Task(prompts, "corrupt"), EapIg(steps=20))
        taken = perf_counter() - start
    finally:
        torch.set_num_threads(threads)
    assert planned.seconds is not None
    assert 0.1 < taken / planned.seconds < 10  # other programs may run beside either


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("magic", {}, "method must be one of acdc"),
        ("clean-corrupted", {}, "clean-corrupted needs corrupt ablation"),
        ("eap", {"memory": "much"}, "memory must be a number of bytes"),
    ],
)
def test_bad_input(method, changes, message):
    with pytest.raises(KCircuitsError, match=message):
        memory = changes.pop("memory", None)
        plan(
            Model(tiny_spec("llama"), None, {}),
            *experiment(random_prompts_of([4]), method, **changes),
            memory=memory,
        )
