"""What `load_model` refuses, and what it says then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import load_model
from tests.model.editing import edit_json, edit_weights


class TestBadSources:
    def test_nothing_there(self, tmp_path):
        with pytest.raises(KCircuitsError, match=r"no/model' does not exist; give a Hugging Face folder"):
            load_model(tmp_path / "no" / "model")

    @pytest.mark.parametrize("name", ["x.gguf", "someone/some-model"])
    def test_a_name_is_never_looked_up(self, name):
        with pytest.raises(KCircuitsError, match=r"does not exist.*nothing is downloaded"):
            load_model(name)

    def test_a_folder_called_demo_is_a_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(KCircuitsError, match="'demo' does not exist"):
            load_model(Path("demo"))

    def test_a_file_that_is_no_model(self, tmp_path):
        (tmp_path / "model.safetensors").touch()
        with pytest.raises(KCircuitsError, match=r"is neither a folder nor a \.gguf file"):
            load_model(tmp_path / "model.safetensors")

    def test_a_folder_without_configuration(self, tmp_path):
        with pytest.raises(KCircuitsError, match=r"is not a Hugging Face model: it has no config\.json"):
            load_model(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff{}", b"[" * 100_000])
    def test_a_broken_configuration(self, content, folder):
        (folder / "config.json").write_bytes(content)
        with pytest.raises(KCircuitsError, match=r"cannot read .*config\.json"):
            load_model(folder)

    def test_a_folder_in_place_of_the_configuration(self, tmp_path):
        (tmp_path / "config.json").mkdir()
        with pytest.raises(KCircuitsError, match=r"cannot read .*config\.json"):
            load_model(tmp_path)

    @pytest.mark.parametrize(
        "content", [{}, [], 3, None, {"model_type": None}, {"model_type": ["llama"]}], ids=str
    )
    def test_a_configuration_without_a_family(self, content, folder):
        (folder / "config.json").write_text(json.dumps(content))
        with pytest.raises(KCircuitsError, match="does not name a model_type"):
            load_model(folder)

    def test_an_unknown_family_is_refused_before_its_weights_are_read(self, tmp_path):
        edit_json(tmp_path / "config.json", model_type="bert")
        with pytest.raises(
            KCircuitsError,
            match=r"^model family 'bert' is not known; known: falcon, .* \(docs/adding-a-family\.md says",
        ):
            load_model(tmp_path)

    def test_quantised_weights(self, folder):
        edit_json(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
        with pytest.raises(KCircuitsError, match="are quantised"):
            load_model(folder)

    @pytest.mark.parametrize(
        "changes",
        [
            {"num_attention_heads": "four"},
            {"num_attention_heads": 0},
            {"hidden_size": -1},
            {"hidden_act": "no_such_activation"},
            {"rope_parameters": {"rope_type": "no_such_type"}},
            {"cls": 1},
        ],
        ids=str,
    )
    def test_a_configuration_that_makes_no_sense(self, changes, folder):
        edit_json(folder / "config.json", **changes)
        with pytest.raises(KCircuitsError, match="tiny"):
            load_model(folder)

    def test_a_variant_that_the_family_does_not_cover(self, folder):
        edit_json(folder / "config.json", hidden_act="tanh")
        with pytest.raises(KCircuitsError, match=r"^activation 'tanh' is not known"):
            load_model(folder)

    @pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cpu:x", "mps", ""])
    def test_a_device_that_cannot_be_used(self, device, tiny_folder):
        with pytest.raises(KCircuitsError, match="device"):
            load_model(tiny_folder("llama"), device=device)

    @pytest.mark.parametrize(
        "dtype", [torch.int64, torch.float8_e4m3fn, torch.complex64, "float32", None], ids=str
    )
    def test_a_type_that_cannot_be_used(self, dtype, tiny_folder):
        with pytest.raises(KCircuitsError, match=r"dtype must be one of torch\.float32, .*; got "):
            load_model(tiny_folder("llama"), dtype=dtype)

    def test_a_broken_tokenizer(self, folder):
        (folder / "tokenizer.json").write_text("{}")
        with pytest.raises(KCircuitsError, match="cannot load the model in"):
            load_model(folder)


class TestBadWeights:
    def test_a_missing_weight(self, folder):
        edit_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
        with pytest.raises(
            KCircuitsError, match=r"lacks 1 weights, the first is 'model\.layers\.1\.mlp\.up_proj\.weight'"
        ):
            load_model(folder)

    def test_a_missing_unembedding_where_nothing_is_tied(self, folder):
        edit_weights(folder, lambda weights: weights.pop("lm_head.weight"))
        with pytest.raises(KCircuitsError, match=r"the first is 'lm_head\.weight'"):
            load_model(folder)

    def test_more_layers_than_weights(self, folder):
        edit_json(folder / "config.json", num_hidden_layers=4)
        with pytest.raises(KCircuitsError, match=r"lacks 9 weights, the first is 'model\.layers\.3\."):
            load_model(folder)

    @pytest.mark.parametrize(("name", "key"), [("llama", "num_hidden_layers"), ("gpt2", "n_layer")])
    def test_layers_that_would_take_forever_to_build(self, name, key, tmp_path, tiny_folder):
        folder = shutil.copytree(tiny_folder(name), tmp_path / "model")
        edit_json(folder / "config.json", **{key: 10**9})
        with pytest.raises(KCircuitsError, match=r"has \d+ weights, .* needs 1000000000 layers"):
            load_model(folder)

    @pytest.mark.parametrize(
        "name", ["model.layers.3.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias"]
    )
    def test_a_weight_that_would_be_left_unused(self, name, folder):
        edit_weights(folder, lambda weights: weights.update({name: torch.ones(32)}))
        with pytest.raises(
            KCircuitsError, match=f"has 1 weights that .* no place for, the first is '{name}'"
        ):
            load_model(folder)

    def test_a_weight_of_another_shape(self, folder):
        edit_json(folder / "config.json", vocab_size=62)
        with pytest.raises(
            KCircuitsError,
            match=r"the weight '\S+' in \S+ has shape \[61, 32\], config\.json needs \[62, 32\]",
        ):
            load_model(folder)

    @pytest.mark.parametrize("key", ["vocab_size", "intermediate_size", "hidden_size", "head_dim"])
    def test_sizes_that_no_memory_holds(self, key, folder):
        edit_json(folder / "config.json", **{key: 10**9})
        with pytest.raises(KCircuitsError, match=r"are [\d,]+ numbers, but its configuration needs [\d,]+"):
            load_model(folder)

    def test_a_weight_that_is_not_finite(self, folder):
        edit_weights(folder, lambda weights: weights["model.norm.weight"][3:5].fill_(float("nan")))
        with pytest.raises(
            KCircuitsError, match=r"^2 of 32 values of the weight 'model\.norm\.weight' are NaN"
        ):
            load_model(folder)

    def test_truncated_weights(self, folder):
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(KCircuitsError, match=r"cannot read the weights in .*model\.safetensors"):
            load_model(folder)

    def test_pickled_weights(self, folder):
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(KCircuitsError, match="only pickled weights"):
            load_model(folder)
