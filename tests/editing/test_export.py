"""An edited model as a Hugging Face folder: this package and Transformers read from it what was measured."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from kcircuits.editing.delta import Delta, LowRank
from kcircuits.editing.edit import EditedModel
from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward
from kcircuits.model.loading import Model, load_model
from tests.data.tiny_tokenizers import word_tokenizer
from tests.editing.conftest import WORDS
from tests.models import VOCABULARY, save, tiny_model

FAMILIES = ("llama_gqa", "gpt2", "phi3", "gemma", "gpt_neox")
IDS = torch.arange(3 * 7).reshape(3, 7) % VOCABULARY


def edited(model: Model, seed: int = 0) -> EditedModel:
    """A low-rank edit of what an MLP writes with, and a dense one of what heads write with."""
    draw = torch.Generator().manual_seed(seed)
    w_down, w_o = model.spec.layers[1].mlp.w_down, model.spec.layers[0].attention.w_o
    left, right = (torch.randn(size, 2, generator=draw) * 0.3 for size in w_down.shape)
    dense = torch.randn(w_o.shape, generator=draw) * 0.1
    delta = Delta({"layers.1.mlp.w_down": LowRank(left, right), "layers.0.attention.w_o": dense})
    return EditedModel(model, delta, (), {})


def logits(model: Model) -> torch.Tensor:
    return forward(model.spec, IDS, torch.ones_like(IDS, dtype=torch.bool)).detach()


def folder_of(name: str, tmp_path: Path, dtype: torch.dtype = torch.float32) -> Path:
    folder = save(copy.deepcopy(tiny_model(name)).to(dtype), tmp_path / "model")
    word_tokenizer(WORDS).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_folder_has_the_weights_that_were_measured(name, stored, tmp_path):
    source = folder_of(name, tmp_path, stored)
    model = load_model(source)
    made = edited(model)
    target = made.export(tmp_path / "out")
    ours = logits(made.model)
    assert not torch.equal(ours, logits(model))
    again = load_model(target)
    assert torch.equal(logits(again), ours)
    theirs = AutoModelForCausalLM.from_pretrained(target, attn_implementation="eager")
    assert theirs.dtype == torch.float32
    with torch.no_grad():
        assert (theirs(IDS).logits - ours).abs().max() < 1e-4
    assert (
        AutoTokenizer.from_pretrained(target)("Paris lies in")["input_ids"]
        == (model.tokenizer("Paris lies in")["input_ids"])
    )


def test_only_edited_tensors_change(tmp_path):
    source = folder_of("phi3", tmp_path)
    target = edited(load_model(source)).export(tmp_path / "out")
    before, after = load_file(source / "model.safetensors"), load_file(target / "model.safetensors")
    assert before.keys() == after.keys()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
    }


def test_the_type_that_the_model_was_loaded_in(tmp_path):
    model = load_model(folder_of("llama_gqa", tmp_path), dtype=torch.bfloat16)
    made = edited(model)
    target = made.export(tmp_path / "out")
    assert {each.dtype for each in load_file(target / "model.safetensors").values()} == {torch.bfloat16}
    config = json.loads((target / "config.json").read_text())
    assert {config[key] for key in ("dtype", "torch_dtype") if key in config} == {"bfloat16"}
    again = load_model(target, dtype=torch.bfloat16)
    assert torch.equal(again.spec.layers[1].mlp.w_down, made.model.spec.layers[1].mlp.w_down)


def test_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr("kcircuits.editing.export.SHARD_BYTES", 20_000)
    made = edited(load_model(folder_of("llama_gqa", tmp_path)))
    target = made.export(tmp_path / "out")
    assert len(list(target.glob("model-*-of-*.safetensors"))) > 1
    assert torch.equal(logits(load_model(target)), logits(made.model))


def test_what_cannot_be_exported(tmp_path):
    source = folder_of("llama_gqa", tmp_path)
    model = load_model(source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(KCircuitsError, match="full: it exists and is not an empty folder"):
        edited(model).export(tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    with pytest.raises(KCircuitsError, match="only a model that load_model read from files"):
        edited(replace(model, folder=None)).export(tmp_path / "out")
    with pytest.raises(KCircuitsError, match="quantised model"):
        EditedModel(load_model(source, dtype="q8"), Delta({}), (), {}).export(tmp_path / "out")
    with pytest.raises(KCircuitsError, match="are not those of the edited model"):
        edited(edited(model).model).export(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "model"]


def test_a_disk_that_refuses_leaves_nothing(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    made = edited(load_model(folder_of("llama_gqa", tmp_path)))
    monkeypatch.setattr("kcircuits.editing.export.flush", refuse)
    (tmp_path / "out").mkdir()
    with pytest.raises(KCircuitsError, match=r"cannot export to .*out: No space left on device"):
        made.export(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out"]
    assert list((tmp_path / "out").iterdir()) == []
