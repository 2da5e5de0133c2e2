"""`load_model` on good folders: the model, its tokenizer, its identity."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from kcircuits.model.forward import forward
from kcircuits.model.loading import load_model
from tests.data.tiny_tokenizers import word_tokenizer
from tests.model.editing import edit_weights
from tests.models import BUILDERS, random_prompts, save, tiny_model, tiny_spec


@pytest.mark.parametrize("name", BUILDERS)
def test_logits_are_those_of_the_saved_model(name, tiny_folder):
    model = load_model(tiny_folder(name))
    tokens, mask = random_prompts([3, 6])
    assert torch.equal(forward(model.spec, tokens, mask), forward(tiny_spec(name), tokens, mask))
    assert model.tokenizer is None


@pytest.mark.parametrize("name", ["gpt2", "llama_tied"])
def test_shards_change_nothing(name, tiny_folder, tmp_path):
    sharded = load_model(save(tiny_model(name), tmp_path / name, shard_size="20KB"))
    assert len(list((tmp_path / name).glob("*.safetensors"))) > 1
    whole = load_model(tiny_folder(name))
    assert sharded.identity == whole.identity
    assert torch.equal(sharded.spec.layers[2].mlp.w_down, whole.spec.layers[2].mlp.w_down)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_weights_are_converted_and_the_identity_stays(dtype, tiny_folder):
    model = load_model(tiny_folder("llama_gqa"), dtype=dtype)
    assert model.spec.embedding.dtype == model.spec.layers[0].attention.w_q.dtype == dtype
    expected = tiny_spec("llama_gqa").layers[1].mlp.w_up.to(dtype)
    assert torch.equal(model.spec.layers[1].mlp.w_up, expected)
    rotary = model.spec.layers[0].attention.rotary
    assert rotary is not None
    assert rotary.inv_freq.dtype == torch.float32
    assert model.identity == load_model(tiny_folder("llama_gqa")).identity


def test_a_bfloat16_folder_in_float32(tiny_folder, folder):
    edit_weights(folder, lambda weights: weights.update({n: w.bfloat16() for n, w in weights.items()}))
    model = load_model(folder)
    expected = tiny_spec("llama_gqa").embedding.bfloat16().float()
    assert torch.equal(model.spec.embedding, expected)
    assert model.identity["weights_hash"] != load_model(tiny_folder("llama_gqa")).identity["weights_hash"]


def test_identity(folder, tmp_path):
    identity = load_model(folder).identity
    assert identity["name"] == "tiny"
    assert {key: identity[key] for key in ("family", "num_heads", "num_kv_heads", "parallel")} == {
        "family": "llama", "num_heads": 4, "num_kv_heads": 2, "parallel": False,
    }  # fmt: skip
    assert load_model(str(folder)).identity == identity
    assert load_model(tmp_path / "tiny" / ".." / "tiny").identity == identity


def test_the_folder_s_tokenizer(folder):
    word_tokenizer("Paris is in France", bos=True).save_pretrained(folder)
    tokenizer = load_model(folder).tokenizer
    assert tokenizer is not None
    assert tokenizer("France is")["input_ids"] == [1, 6, 4]


def test_settings_of_the_old_format_are_read(folder):
    """Before Transformers 5: `torch_dtype`, and the base frequency outside of `rope_parameters`."""
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"], config["dtype"]
    config |= {"rope_theta": 500.0, "rope_scaling": None, "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    spec = load_model(folder).spec
    assert spec.embedding.dtype == torch.float32
    rotary = spec.layers[0].attention.rotary
    assert rotary is not None
    torch.testing.assert_close(rotary.inv_freq, 500.0 ** -(torch.arange(4) / 4))


def test_old_gpt2_names_and_buffers(tiny_folder, tmp_path):
    """The first GPT-2 checkpoints: no `transformer.` in the names, constants among the weights."""
    folder = save(tiny_model("gpt2"), tmp_path / "gpt2")

    def age(weights: dict[str, Tensor]) -> None:
        for name in list(weights):
            weights[name.removeprefix("transformer.")] = weights.pop(name)
        weights["h.0.attn.bias"] = torch.ones(1, 1, 32, 32).tril()
        weights["h.0.attn.masked_bias"] = torch.tensor(-1e4)

    edit_weights(folder, age)
    old, new = load_model(folder).spec, load_model(tiny_folder("gpt2")).spec
    prompts = random_prompts([5])
    assert torch.equal(forward(old, *prompts), forward(new, *prompts))


def test_weights_written_to_in_memory_stay_as_they_are_on_disk(folder):
    before = (folder / "model.safetensors").read_bytes()
    load_model(folder).spec.layers[0].mlp.w_down.zero_()
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["gpt2", "llama_rope_llama3"])
def test_a_model_on_the_gpu(name, tiny_folder):
    spec = load_model(tiny_folder(name), device="cuda").spec
    tokens, mask = random_prompts([3, 6])
    logits = forward(spec, tokens.cuda(), mask.cuda()).cpu()
    torch.testing.assert_close(logits[mask], forward(tiny_spec(name), tokens, mask)[mask], atol=1e-4, rtol=0)
