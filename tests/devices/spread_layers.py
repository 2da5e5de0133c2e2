"""Layers on the CPU and on two devices that are not the CPU: the same results as on one device.

Ops refuse tensors that lie on different devices there, as CUDA's do (`tests/devices/fake_device.cpp`).
`tests/devices/test_device_map.py` runs this file in a process of its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from kcircuits.analysis.curves.reading import layer_curves
from kcircuits.analysis.hallucination.reading import hallucinations
from kcircuits.analysis.heads.reading import read_heads
from kcircuits.analysis.roles.reading import head_roles
from kcircuits.discovery import attribute, discover
from kcircuits.engine import Engine
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import evaluate
from kcircuits.model.devices import devices_of, place_on_devices
from kcircuits.model.families import spec_of
from kcircuits.model.loading import Model
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task
from tests.circuits import identity_for
from tests.devices.fake import load_fake_device
from tests.experiments import experiment
from tests.models import BUILDERS, build, tiny_spec
from tests.tasks import random_prompts_of

PROMPTS = random_prompts_of([5, 3, 6])
LARGE = 2**30
MAPS = {
    "cpu first": {0: "cpu", 1: "fake:0", 2: "fake:1"},
    "cpu last": {0: "fake:1", 1: "fake:0", 2: "cpu"},
    "elsewhere": {0: "fake:0", 1: "fake:0", 2: "fake:1", "embedding": "fake:1", "unembedding": "fake:0"},
}
BLOCKS = ["gpt2", "llama_gqa", "gpt_neox", "gemma2", "mixtral", "gpt_oss"]


@pytest.fixture(scope="module", autouse=True)
def _fake_device() -> None:
    load_fake_device()


def spread(name: str, how: str) -> ModelSpec:
    return place_on_devices(tiny_spec(name), MAPS[how])


def close(ours: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    largest = expected.abs().max().item()
    torch.testing.assert_close(ours.cpu(), expected, atol=tolerance * largest, rtol=0)


def test_ops_refuse_tensors_of_different_devices():
    """Or else the tests below would show nothing."""
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(2, 2).to("fake:0") @ torch.ones(2, 2).to("fake:1")
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(2, 2).to("fake:0") + torch.ones(2, 2)


@pytest.mark.parametrize("how", MAPS)
def test_layers_are_where_the_map_says(how):
    spec = spread("llama_tied", how)
    assert [str(layer.mlp.w_up.device) for layer in spec.layers] == [MAPS[how][layer] for layer in range(3)]
    assert (spec.final_norm.weight.device, len(devices_of(spec))) == (
        spec.unembedding.device,
        2 + ("cpu" in how),
    )


@pytest.mark.parametrize("layout", ["memory", "bfloat16", "host", "recomputed"])
@pytest.mark.parametrize("how", MAPS)
@pytest.mark.parametrize("name", BLOCKS)
def test_scores(name, how, layout):
    task = Task(PROMPTS, "corrupt")
    spec = spread(name, how)
    if layout == "host" and spec.embedding.device.type == "cpu":
        pytest.skip("there is no host beside the CPU")
    ours = Engine(spec, task, layout=layout)
    one = Engine(tiny_spec(name), task, layout="memory" if layout == "host" else layout)
    for qk_fix in (False, True):
        how_to = {"qk_fix": qk_fix, "progress": None, "memory": LARGE}
        close(
            ours.path_scores([0.3, 1.0], rule="gradient", **how_to),
            one.path_scores([0.3, 1.0], rule="gradient", **how_to),
            1e-3 if layout == "bfloat16" else 1e-5,  # numbers halfway between two may go either way
        )


@pytest.mark.parametrize("method", ["relp", "eap-ig-activations", "ifr"])
@pytest.mark.parametrize("ablation", ["zero", "mean", "mean-positional"])
def test_methods(method, ablation):
    one = tiny_spec("gpt2")
    together, apart = (
        attribute(Model(spec, None, identity_for(one.graph)), *experiment(PROMPTS, method, ablation=ablation))
        for spec in (one, spread("gpt2", "elsewhere"))
    )
    close(torch.tensor(apart.matrix), torch.tensor(together.matrix))


@pytest.mark.parametrize("ablation", ["zero", "corrupt", "mean"])
@pytest.mark.parametrize("how", MAPS)
@pytest.mark.parametrize("name", BLOCKS)
def test_masked_runs(name, how, ablation):
    task, spec = Task(PROMPTS, ablation), tiny_spec(name)
    masks = spec.graph.valid & (np.random.default_rng(0).random((3, *spec.graph.valid.shape)) < 0.7)
    rows = Engine(spec, task).masked_rows(masks, LARGE)
    for layout in ("memory", "recomputed"):
        ours = Engine(spread(name, how), task, layout=layout)
        close(ours.masked_rows(masks, LARGE), rows)
        assert ours.measure(masks, LARGE) == pytest.approx(Engine(spec, task).measure(masks, LARGE), rel=1e-4)


@pytest.mark.parametrize("metric", ["nll", "kl", "logit-diff"])
def test_discover_and_evaluate(metric):
    one = tiny_spec("llama_gqa")
    identity = identity_for(one.graph)
    models = [Model(spec, None, identity) for spec in (one, spread("llama_gqa", "elsewhere"))]
    how = {"ablation": "corrupt", "metric": metric, "top_n": 60}
    circuits = [discover(model, *experiment(PROMPTS, "eap-ig-inputs", **how)) for model in models]
    assert (circuits[0].mask() == circuits[1].mask()).all()
    found = [
        evaluate(model, Task.as_found(circuits[0], PROMPTS), circuits[0], random_circuits=2)
        for model in models
    ]
    assert found[1].faithfulness == pytest.approx(found[0].faithfulness, abs=1e-3)
    assert found[1].circuit.rank == pytest.approx(found[0].circuit.rank)


@pytest.mark.parametrize("how", MAPS)
@pytest.mark.parametrize("name", ["gpt2", "llama_gqa", "gemma2", "gpt_oss"])
def test_readings(name, how):
    one = tiny_spec(name)
    together, apart = (Model(spec, None, identity_for(one.graph)) for spec in (one, spread(name, how)))
    prompts = [replace(prompt, subject=(0, 2), wrong_id=None) for prompt in PROMPTS]
    runs = [layer_curves(model, Task(prompts)).runs["full"] for model in (together, apart)]
    np.testing.assert_allclose(runs[1].probability, runs[0].probability, rtol=1e-3)
    heads = [read_heads(model, Task(prompts), strongest=6) for model in (together, apart)]
    np.testing.assert_allclose(heads[1].direct, heads[0].direct, atol=1e-4)
    for ours, expected in zip(heads[1].readings[0], heads[0].readings[0], strict=True):
        assert (ours.node, ours.rank) == (expected.node, expected.rank)
        assert ours.attention == (expected.attention and pytest.approx(expected.attention, abs=1e-4))
    roles = [head_roles(model, Task(prompts), draws=1) for model in (together, apart)]
    assert [head.role for head in roles[1].heads] == [head.role for head in roles[0].heads]
    errors = [hallucinations(model, Task(prompts)).errors for model in (together, apart)]
    assert [error.text for error in errors[1]] == [error.text for error in errors[0]]


@pytest.mark.parametrize(
    ("method", "options"),
    [("acdc", {"threshold": 0.1}), ("exact", {"top_n": 9}), ("edge-pruning", {"top_n": 9})],
)
def test_what_needs_one_device_says_so(method, options):
    model = Model(spread("llama", "elsewhere"), None, {})
    with pytest.raises(KCircuitsError, match=f"{method} needs all weights on one device.* fake:1, fake:0"):
        discover(model, *experiment(PROMPTS, method, **options))


def test_a_hugging_face_model_with_its_layers_apart():
    """As accelerate leaves it: the norm with the last layer, the tied unembedding with the embedding."""
    hf_model = build(BUILDERS["llama_tied"], seed=1)
    task = Task(PROMPTS, "corrupt")
    how = {"rule": "gradient", "qk_fix": False, "memory": LARGE, "progress": None}
    together = Engine(spec_of(hf_model), task).path_scores([1.0], **how)
    hf_model.model.embed_tokens.to("fake:0")
    hf_model.lm_head.to("fake:0")
    hf_model.model.rotary_emb.to("fake:0")
    for number, device in enumerate(("fake:0", "fake:1", "fake:1")):
        hf_model.model.layers[number].to(device)
    hf_model.model.norm.to("fake:1")
    spec = spec_of(hf_model)
    assert list(map(str, devices_of(spec))) == ["fake:0", "fake:1"]
    close(Engine(spec, task).path_scores([1.0], **how), together)
    hf_model.model.layers[1].mlp.to("fake:0")
    with pytest.raises(KCircuitsError, match="the weights of layer 1 are on fake:0, fake:1"):
        spec_of(hf_model)
