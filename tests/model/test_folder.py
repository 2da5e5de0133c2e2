"""Folders that are not what they seem: adapters, pipes, numbers that are none, tokenizers of another kind."""

from __future__ import annotations

import os

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.model.loading import load_model
from tests.model.editing import edit_json

ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "someone/base"}


def test_an_adapter_beside_the_weights(folder):
    edit_json(folder / "adapter_config.json", **ADAPTER)
    with pytest.raises(
        KCircuitsError, match=r"has a 'LORA' adapter of 'someone/base' beside its weights .*merge it first"
    ):
        load_model(folder)


@pytest.mark.parametrize("content", ["", "{", "3", "[]"])
def test_an_adapter_whose_settings_are_broken(content, folder):
    (folder / "adapter_config.json").write_text(content)
    with pytest.raises(KCircuitsError, match=r"has a 'PEFT' adapter of 'another model' beside"):
        load_model(folder)


def test_a_folder_that_is_only_an_adapter(tmp_path):
    edit_json(tmp_path / "adapter_config.json", **ADAPTER)
    with pytest.raises(KCircuitsError, match=r"is a 'LORA' adapter of 'someone/base', not a model: merge it"):
        load_model(tmp_path)


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_quantised_weights(key, folder):
    edit_json(folder / "config.json", **{key: {"quant_method": "gptq"}})
    with pytest.raises(KCircuitsError, match="are quantised; dequantise them first"):
        load_model(folder)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none(value, folder):
    edit_json(folder / "config.json", rms_norm_eps=float(value))
    with pytest.raises(
        KCircuitsError, match=rf"config\.json has the value {value}, which is not a finite number"
    ):
        load_model(folder)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer.model",
        "adapter_config.json",
        "generation_config.json",
        "added_tokens.json",
        "chat_template.jinja",
        "merges.txt",
    ],
)
def test_a_named_pipe_is_refused_and_not_waited_for(name, folder):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(KCircuitsError, match=rf"/{name} is not a regular file; put a copy"):
        load_model(folder)


def test_links_are_files(folder, tmp_path):
    """Hugging Face's cache is made of links."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for file in folder.iterdir():
        (snapshot / file.name).symlink_to(file)
    assert load_model(snapshot).identity["weights_hash"] == load_model(folder).identity["weights_hash"]


def test_a_sentencepiece_model_without_a_tokenizer_file(folder):
    (folder / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>")
    edit_json(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    with pytest.raises(KCircuitsError, match=r"is a SentencePiece model \(tokenizer\.model\) without the"):
        load_model(folder)


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth"])
def test_pickles(suffix, folder):
    (folder / "model.safetensors").rename(folder / f"pytorch_model.{suffix}")
    with pytest.raises(KCircuitsError, match=rf"only pickled weights \(pytorch_model\.{suffix}\)"):
        load_model(folder)
