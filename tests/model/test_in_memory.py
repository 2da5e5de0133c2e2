"""A Transformers model that is in memory: the same model as from its folder, or a reason why not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward
from kcircuits.model.loading import load_model
from tests.data.tiny_tokenizers import word_tokenizer
from tests.models import BUILDERS, random_prompts, tiny_model


@pytest.mark.parametrize("name", BUILDERS)
def test_logits_are_the_model_s(name):
    hf_model = tiny_model(name)
    tokens, mask = random_prompts([6])
    with torch.no_grad():
        expected = hf_model(tokens, use_cache=False).logits
    ours = forward(load_model(hf_model).spec, tokens, mask)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["gpt2", "llama_tied", "olmo2"])
def test_the_identity_is_that_of_the_folder(name, tiny_folder):
    folder = tiny_folder(name)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours, read = load_model(theirs), load_model(folder)
    assert ours.identity == read.identity
    assert ours.account.harmless == read.account.harmless
    assert ours.folder is None


def test_weights_are_not_copied():
    hf_model = tiny_model("llama_gqa")
    down = load_model(hf_model).spec.layers[1].mlp.w_down
    assert down.untyped_storage().data_ptr() == (
        hf_model.model.layers[1].mlp.down_proj.weight.untyped_storage().data_ptr()
    )


def test_dtypes(tiny_folder):
    hf_model = tiny_model("llama_gqa")
    assert load_model(hf_model, dtype=torch.bfloat16).spec.embedding.dtype == torch.bfloat16
    assert load_model(copy.deepcopy(hf_model).bfloat16()).spec.embedding.dtype == torch.float32
    tokens, mask = random_prompts([5])
    rounded = forward(load_model(hf_model, dtype="q8").spec, tokens, mask)
    read = forward(load_model(tiny_folder("llama_gqa"), dtype="q8").spec, tokens, mask)
    assert torch.equal(rounded, read)


def test_with_a_tokenizer():
    model = load_model(tiny_model("llama_gqa"), tokenizer=word_tokenizer("Paris is in France"))
    assert model.prompt("Paris is in", " France").clean_ids == tuple(
        model.tokenizer("Paris is in")["input_ids"]
    )


def hooked(model: nn.Module) -> None:
    model.model.layers[1].mlp.register_forward_hook(lambda *_: None)


def exchanged(model: nn.Module) -> None:
    model.model.layers[1].mlp.down_proj = nn.Linear(5, 32, bias=False)


def adapted(model: nn.Module) -> None:
    model.model.layers[0].self_attn.q_proj.lora_A = nn.Linear(4, 2, bias=False)


def cut(model: nn.Module) -> None:
    del model.model.layers[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (hooked, "the module 'model.layers.1.mlp' has forward hooks"),
        (exchanged, r"'model.layers.1.mlp.down_proj.weight' is \[32, 5\], and the configuration asks"),
        (adapted, "lora_A"),
        (cut, "the weight 'model.layers.2.*' is none"),
    ],
)
def test_a_model_that_is_not_its_configuration_s(change, message):
    hf_model = copy.deepcopy(tiny_model("llama_gqa"))
    change(hf_model)
    with pytest.raises(KCircuitsError, match=message):
        load_model(hf_model)


def test_infinite_weights():
    hf_model = copy.deepcopy(tiny_model("gpt2"))
    hf_model.transformer.h[0].mlp.c_fc.weight.data[0, 0] = torch.inf
    with pytest.raises(KCircuitsError, match="NaN or infinite"):
        load_model(hf_model)


@pytest.mark.parametrize(
    "source", [3, None, nn.Linear(2, 2), ["gpt2"]], ids=["int", "None", "module", "list"]
)
def test_what_is_no_source(source):
    with pytest.raises(KCircuitsError, match=f"cannot load a model from {type(source).__name__}: give"):
        load_model(source)


def test_options_that_do_not_fit(tiny_folder):
    with pytest.raises(KCircuitsError, match="give a tokenizer only for a model in memory"):
        load_model(tiny_folder("gpt2"), tokenizer=object())
    with pytest.raises(KCircuitsError, match="dtype stored is only for"):
        load_model(tiny_model("gpt2"), dtype="stored")
