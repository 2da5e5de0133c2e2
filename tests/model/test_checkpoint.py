"""What a checkpoint may hold beside weights, and what its names and types say of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kcircuits.errors import KCircuitsError
from kcircuits.model.checkpoint import is_buffer
from kcircuits.model.forward import forward
from kcircuits.model.loading import load_model
from tests.model.editing import edit_weights
from tests.models import random_prompts, tiny_spec

MASK = torch.ones(1, 1, 32, 32).tril()
INFINITE = torch.tensor(float("-inf"))


@pytest.mark.parametrize(
    ("name", "buffers"),
    [
        ("gpt2", {"h.1.attn.bias": MASK, "h.1.attn.masked_bias": INFINITE}),
        ("gpt2", {"transformer.h.0.attn.bias": MASK.bool(), "transformer.h.0.attn.masked_bias": INFINITE}),
        (
            "gptj",
            {"transformer.h.0.attn.bias": MASK.to(torch.uint8), "transformer.h.0.attn.masked_bias": INFINITE},
        ),
        (
            "gpt_neox",
            {
                "gpt_neox.layers.0.attention.bias": MASK.bool(),
                "gpt_neox.layers.0.attention.masked_bias": INFINITE,
                "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(2),
            },
        ),
        ("llama_gqa", {"model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(4, dtype=torch.float16)}),
        ("phi", {"model.layers.1.self_attn.rotary_emb.cos_cached": torch.ones(64, 4)}),
        ("falcon", {"transformer.h.0.self_attention.rotary_emb.inv_freq": torch.ones(4)}),
        ("opt", {"model.decoder.version": torch.tensor([3])}),
    ],
    ids=str,
)
def test_buffers_of_old_checkpoints_change_nothing(name, buffers, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder(name), tmp_path / "old")
    edit_weights(folder, lambda weights: weights.update(buffers))
    spec = load_model(folder).spec
    prompts = random_prompts([5])
    assert torch.equal(forward(spec, *prompts), forward(tiny_spec(name), *prompts))


@pytest.mark.parametrize(
    "name",
    ["h.0.c_attn.bias", "model.layers.0.self_attn.q_proj.bias", "attention.dense.bias", "my_attn.bias"],
)
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gptj", "llama"])
def test_biases_are_weights(name, family):
    assert not is_buffer(name, family)


def test_a_buffer_of_one_family_is_none_of_another(folder):
    edit_weights(folder, lambda weights: weights.update({"model.layers.0.attn.masked_bias": INFINITE}))
    with pytest.raises(
        KCircuitsError, match=r"values of the weight 'model\.layers\.0\.attn\.masked_bias' are"
    ):
        load_model(folder)


def test_an_unknown_tensor_is_an_error_also_in_a_family_with_buffers(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("gpt_neox"), tmp_path / "old")
    name = "gpt_neox.layers.0.attention.gain"
    edit_weights(folder, lambda weights: weights.update({name: torch.ones(1)}))
    with pytest.raises(KCircuitsError, match=r"has 1 weights that .* no place for, the first is '.*gain'"):
        load_model(folder)


def test_the_identity_of_an_ordinary_old_checkpoint_is_what_it_was(tiny_folder, tmp_path):
    """Finite buffers have always been part of it."""
    folder = shutil.copytree(tiny_folder("gpt2"), tmp_path / "old")
    edit_weights(folder, lambda weights: weights.update({"transformer.h.0.attn.bias": MASK}))
    ours, plain = load_model(folder).identity, load_model(tiny_folder("gpt2")).identity
    assert ours["weights_hash"] != plain["weights_hash"]


def renamed(change: Callable[[str], str]) -> Callable[[dict[str, Tensor]], None]:
    def edit(weights: dict[str, Tensor]) -> None:
        for name in list(weights):
            weights[change(name)] = weights.pop(name)

    return edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda name: f"base_model.model.{name}",
            r"saved from a wrapper \('base_model\.model\..*'\), PEFT: merge",
        ),
        (lambda name: f"_orig_mod.{name}", r"torch\.compile: save the model itself"),
        (
            lambda name: name.replace("layers.1.", "layers.1._orig_mod."),
            r"torch\.compile: save the model itself",
        ),
        (lambda name: f"module.{name}", r"DataParallel or DeepSpeed: save the model itself"),
        (
            lambda name: name.replace("q_proj.", "q_proj.base_layer."),
            r"hold an adapter \('.*base_layer\.weight'\)",
        ),
        (lambda name: f"language.{name}", r"begin with 'language\.', and the family's do not"),
    ],
    ids=["peft", "compiled", "compiled inside", "parallel", "lora", "part of another"],
)
def test_names_that_say_where_the_weights_come_from(change, message, folder):
    edit_weights(folder, renamed(change))
    with pytest.raises(KCircuitsError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.float8_e4m3fn], ids=str
)
def test_numbers_that_are_no_weights(dtype, folder):
    name = "model.layers.0.mlp.up_proj.weight"
    edit_weights(folder, lambda weights: weights.update({name: weights[name].to(dtype)}))
    with pytest.raises(
        KCircuitsError, match=rf"weight '{name}' in .* is stored as {dtype}, so it is quantised"
    ):
        load_model(folder)
