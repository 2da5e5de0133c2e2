"""Models that were loaded before: described from the cache and the mapped files, and exactly as before."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kcircuits.model import cache as cache_module
from kcircuits.model import loading, outline_file
from kcircuits.model.config_account import ConfigAccount
from kcircuits.model.loading import load_model
from kcircuits.model.outline import Outline, fill_outline, make_outline
from kcircuits.model.places import Rows, View
from kcircuits.model.quantised import QuantisedWeight
from kcircuits.model.spec import ModelSpec, map_leaves
from kcircuits.model.weights import read_weights
from tests.data.tiny_tokenizers import word_tokenizer
from tests.model.editing import edit_json, edit_weights
from tests.models import BUILDERS, as_dtype, save, tiny_model, tiny_spec

CPU = torch.device("cpu")
ACCOUNT = ConfigAccount(("vocab_size",), {"head_dim": "seen"}, {"use_cache": "none"})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("KCIRCUITS_CACHE", str(folder))
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of which a Hugging Face model was built."""
    folders: list[Path] = []

    def build(folder: Path, *rest: Any) -> Any:
        folders.append(folder)
        return original(folder, *rest)

    original = loading.hugging_face_model
    monkeypatch.setattr(loading, "hugging_face_model", build)
    return folders


def assert_same(one: Any, other: Any) -> None:
    """The same description: every number, and every tensor with its dtype."""
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, tuple):
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif is_dataclass(one):
        assert type(one) is type(other)
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    else:
        assert type(one) is type(other)
        assert one == other


def stored_of(name: str) -> dict[str, Tensor]:
    return {key: tensor.detach() for key, tensor in tiny_model(name).state_dict().items()}


class TestTheSecondTime:
    @pytest.mark.parametrize("name", BUILDERS)
    def test_every_family(self, name, tiny_folder, built):
        folder = tiny_folder(name)
        first, second = load_model(folder), load_model(folder)
        assert built == [folder]
        assert_same(first.spec, tiny_spec(name))
        assert_same(second.spec, tiny_spec(name))
        assert first.identity == second.identity

    @pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("name", ["gpt2", "llama_biases", "gpt_neox", "gptj", "opt", "phi3", "mixtral"])
    def test_weights_are_converted(self, name, stored, tmp_path, built):
        folder = save(tiny_model(name), tmp_path / name)
        edit_weights(folder, lambda weights: weights.update({n: w.to(stored) for n, w in weights.items()}))
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            assert_same(
                load_model(folder, dtype=dtype).spec, as_dtype(as_dtype(tiny_spec(name), stored), dtype)
            )
        assert built == [folder]

    def test_what_is_computed_stays_in_float32(self, tmp_path, built):
        folder = save(tiny_model("gemma2"), tmp_path / "gemma2")
        edit_weights(folder, lambda weights: weights.update({n: w.bfloat16() for n, w in weights.items()}))
        for _ in range(2):
            spec = load_model(folder, dtype=torch.bfloat16).spec
            assert spec.layers[0].attention.w_q.dtype == torch.bfloat16
            weight = spec.layers[0].attention_norm.weight
            assert weight is not None
            assert weight.dtype == torch.float32
            expected = tiny_model("gemma2").model.layers[0].input_layernorm.weight.bfloat16().float()
            assert torch.equal(weight, 1 + expected)
        assert built == [folder]

    def test_dtypes_side_by_side(self, folder, built):
        def narrow(weights: dict[str, Tensor]) -> None:
            weights.update({n: w.bfloat16() for n, w in weights.items() if "proj" in n})

        edit_weights(folder, narrow)
        first, second = load_model(folder).spec, load_model(folder).spec
        assert built == [folder]
        assert_same(first, second)
        assert torch.equal(second.embedding, tiny_spec("llama_gqa").embedding)
        w_up = tiny_spec("llama_gqa").layers[1].mlp.w_up
        assert torch.equal(second.layers[1].mlp.w_up, w_up.bfloat16().float())

    @pytest.mark.parametrize("dtype", ["q8", "q4"])
    def test_rounded_models(self, dtype, folder, built):
        first, second = load_model(folder).spec, load_model(folder, dtype=dtype).spec
        assert built == [folder]
        assert isinstance(second.layers[0].mlp.w_up, QuantisedWeight)
        assert (second.layers[0].mlp.w_up.dequantise() - first.layers[0].mlp.w_up).abs().max() < 0.1

    def test_tied_vocabularies_stay_one(self, tiny_folder):
        for _ in range(2):
            spec = load_model(tiny_folder("llama_tied"), dtype=torch.bfloat16).spec
            assert spec.embedding.data_ptr() == spec.unembedding.data_ptr()

    @pytest.mark.parametrize("name", ["gpt2", "llama", "phi3", "gemma"])
    def test_weights_are_mapped_and_not_copied(self, name, tiny_folder, monkeypatch):
        load_model(tiny_folder(name))
        weights = read_weights(tiny_folder(name))
        monkeypatch.setattr(loading, "read_weights", lambda _: weights)
        spec = load_model(tiny_folder(name)).spec
        (w_down,) = [
            w for n, w in weights.items() if "layers.0.mlp.down" in n or "h.0.mlp.c_proj.weight" in n
        ]
        assert spec.layers[0].mlp.w_down.data_ptr() == w_down.data_ptr()

    def test_transformers_is_not_imported(self, folder, cache):
        word_tokenizer("Paris is in France", bos=True).save_pretrained(folder)
        first = load_model(folder)
        script = (
            "import sys, json; from kcircuits.model.loading import load_model;"
            f"model = load_model({str(folder)!r}); assert 'transformers' not in sys.modules;"
            "print(json.dumps([model.identity, model.tokenizer('France is')]))"
        )
        root = Path(__file__).resolve().parents[2]
        environment = {"PYTHONPATH": str(root), "KCIRCUITS_CACHE": str(cache)}
        printed = subprocess.run(
            [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
        ).stdout
        assert json.loads(printed) == [first.identity, {"input_ids": [1, 6, 4]}]


class TestWhatIsKept:
    @pytest.mark.parametrize("name", BUILDERS)
    def test_no_matrix_is(self, name, tiny_folder, monkeypatch):
        kept: list[Outline] = []
        monkeypatch.setattr(loading, "write_outline", lambda _, outline: kept.append(outline))
        load_model(tiny_folder(name))
        (outline,) = kept
        assert all(value.ndim == 1 for value in outline.values.values())

    def test_fused_matrices_are_told_by_rows(self):
        outline = make_outline(tiny_spec("gpt_neox"), stored_of("gpt_neox"), ACCOUNT)
        attention = outline.spec.layers[0].attention
        assert attention.w_q == Rows(
            "gpt_neox.layers.0.attention.query_key_value.weight", attention.w_q.order
        )
        assert attention.b_q == replace(attention.w_q, name=attention.w_q.name.replace("weight", "bias"))
        order = outline.values[attention.w_q.order].tolist()
        assert order == [24 * head + row for head in range(4) for row in range(8)]

    def test_experts_that_are_stored_apart_are_views(self, tiny_folder, monkeypatch):
        kept: list[Outline] = []
        monkeypatch.setattr(loading, "write_outline", lambda _, outline: kept.append(outline))
        load_model(tiny_folder("mixtral"))
        w_up = kept[0].spec.layers[1].mlp.experts[2].w_up
        assert isinstance(w_up, View)
        assert "experts.2." in w_up.name

    def test_more_than_a_little_is_not(self, folder, cache, built, monkeypatch):
        monkeypatch.setattr(outline_file, "MOST_VALUES", 10)
        load_model(folder)
        assert_same(load_model(folder).spec, tiny_spec("llama_gqa"))
        assert built == [folder, folder]

    def test_a_number_that_json_cannot_hold_is_not(self, cache):
        spec = replace(tiny_spec("llama"), embedding_scale=float("inf"))
        outline_file.write_outline("x", make_outline(spec, stored_of("llama"), ACCOUNT))
        assert not cache.exists()

    def test_an_older_one_is_replaced(self, folder, cache, built, monkeypatch):
        load_model(folder)
        (file,) = cache.iterdir()
        before = file.read_bytes()
        monkeypatch.setattr(outline_file, "code_version", lambda: "other code")
        load_model(folder)
        assert built == [folder, folder]
        assert list(cache.iterdir()) == [file]
        assert file.read_bytes() != before

    def test_the_code_and_the_libraries_are_named(self, monkeypatch):
        cache_module.code_version.cache_clear()
        ours = cache_module.code_version()
        cache_module.code_version.cache_clear()
        assert cache_module.code_version() == ours
        cache_module.code_version.cache_clear()
        monkeypatch.setattr(cache_module, "version", lambda name: f"{name} of another day")
        try:
            assert cache_module.code_version() != ours
        finally:
            cache_module.code_version.cache_clear()

    @pytest.mark.parametrize(
        "change",
        [
            lambda folder: edit_weights(folder, lambda w: w["model.layers.0.mlp.up_proj.weight"].neg_()),
            lambda folder: edit_json(folder / "config.json", rms_norm_eps=1e-3),
        ],
        ids=["weights", "configuration"],
    )
    def test_another_model_is_built_anew(self, change, folder, built):
        load_model(folder)
        change(folder)
        changed = load_model(folder).spec
        assert built == [folder, folder]
        assert changed.final_norm.eps == 1e-3 or not torch.equal(
            changed.layers[0].mlp.w_up, tiny_spec("llama_gqa").layers[0].mlp.w_up
        )


def spoil(position: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


class TestABrokenCache:
    @pytest.mark.parametrize(
        "change",
        [
            lambda content: b"",
            lambda content: content[:100],
            lambda content: content[:-1],
            lambda content: b"\x80\x04pickle" + content,
            lambda content: content.replace(b"eps", b"epz"),
            lambda content: content.replace(b"seal", b"sea1"),
            lambda content: content.replace(b"outline", b"outlier"),
            *(spoil(position) for position in (0, 9, 300, 2000, -1, -9)),
        ],
    )
    def test_it_is_made_anew(self, change, folder, cache, built):
        load_model(folder)
        (file,) = cache.iterdir()
        good = file.read_bytes()
        file.write_bytes(change(good))
        assert_same(load_model(folder).spec, tiny_spec("llama_gqa"))
        assert built == [folder, folder]
        assert file.read_bytes() == good

    def test_an_outline_of_another_model(self, folder, cache, built, tiny_folder):
        load_model(folder)
        (file,) = cache.iterdir()
        load_model(tiny_folder("gpt2"))
        (other,) = set(cache.iterdir()) - {file}
        file.write_bytes(other.read_bytes())
        assert_same(load_model(folder).spec, tiny_spec("llama_gqa"))
        assert built.count(folder) == 2

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "no such weight"},
            {"offset": 1},
            {"offset": -1},
            {"offset": True},
            {"shape": (61, 32.0)},
            {"shape": "61"},
            {"shape": (61, 33)},
            {"shape": (61, -32)},
            {"stride": (33, 1)},
            {"stride": (32,)},
            {"stride": None},
        ],
        ids=str,
    )
    def test_a_place_that_is_not_there(self, change, cache):
        stored = stored_of("llama")
        outline = make_outline(tiny_spec("llama"), stored, ACCOUNT)
        outline_file.write_outline("x", outline)
        kept = outline_file.read_outline("x", stored)
        assert kept is not None
        assert_same(fill_outline(kept, stored, torch.float32, CPU), tiny_spec("llama"))
        wrong = replace(outline.spec, unembedding=replace(outline.spec.unembedding, **change))
        outline_file.write_outline("x", replace(outline, spec=wrong))
        assert outline_file.read_outline("x", stored) is None

    @pytest.mark.parametrize("order", [[-1], [96], [0.5]], ids=str)
    def test_rows_that_are_not_there(self, order, cache):
        stored = stored_of("gpt_neox")
        outline = make_outline(tiny_spec("gpt_neox"), stored, ACCOUNT)
        name = outline.spec.layers[0].attention.w_q.order
        outline_file.write_outline("x", replace(outline, values=outline.values | {name: torch.tensor(order)}))
        assert outline_file.read_outline("x", stored) is None

    def test_a_cache_that_cannot_be_written(self, folder, tmp_path, built, monkeypatch):
        (tmp_path / "occupied").touch()
        monkeypatch.setenv("KCIRCUITS_CACHE", str(tmp_path / "occupied" / "cache"))
        for _ in range(2):
            assert_same(load_model(folder).spec, tiny_spec("llama_gqa"))
        assert built == [folder, folder]


def test_rebuilt_tells_the_fields():
    names: list[str] = []

    def change(tensor: Tensor, field: str) -> Tensor:
        names.append(field)
        return tensor

    spec = map_leaves(tiny_spec("gpt2"), Tensor, change)
    assert isinstance(spec, ModelSpec)
    assert names[0] == "embedding"
    assert {"w_q", "b_up", "weight", "bias", "unembedding", "positions"} <= set(names)
