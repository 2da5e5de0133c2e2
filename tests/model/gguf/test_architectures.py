"""GGUF files of every family and variation, beside Transformers on the original weights and llama.cpp."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from kcircuits.errors import KCircuitsError
from kcircuits.model.forward import forward
from kcircuits.model.gguf.architectures import ARCHITECTURES
from kcircuits.model.loading import load_model
from kcircuits.model.quantised import QuantisedWeight
from tests.fuzz.missing import Whole
from tests.model.gguf import hf_to_gguf, llama_cpp
from tests.model.gguf.cases import CASES
from tests.model.gguf.hf_to_gguf import Keys, Tensors, write_model
from tests.models import BUILDERS, build, gpt2, llama, random_prompts


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KCIRCUITS_CACHE", str(tmp_path / "cache"))


def _ids(length: int = 24) -> Tensor:
    return random_prompts([length], seed=3)[0]


def _log_probabilities(model: Any, ids: Tensor) -> Tensor:
    logits = forward(model.spec, ids, torch.ones_like(ids, dtype=torch.bool))
    return logits[0].double().log_softmax(-1)


@pytest.mark.parametrize("name", CASES)
def test_the_logits_are_those_of_the_original_weights_and_of_llama_cpp(name, tmp_path):
    case, ids = CASES[name], _ids()
    original = build(case.build)
    file = write_model(original, tmp_path / "tiny.gguf")
    with torch.no_grad():
        expected = original(ids).logits[0].double().log_softmax(-1)
    for dtype in (torch.float32, "stored"):
        found = _log_probabilities(load_model(file, dtype=dtype), ids)
        torch.testing.assert_close(found, expected, atol=case.ours, rtol=0)
    if llama_cpp.is_installed() and isinstance(case.llama_cpp, float):
        theirs = llama_cpp.log_probabilities(file, ids[0].tolist())
        torch.testing.assert_close(theirs, expected[-1], atol=case.llama_cpp, rtol=0)


def test_every_architecture_is_tested():
    written = {hf_to_gguf.ARCHITECTURES[case.build().config.model_type] for case in CASES.values()}
    assert written == ARCHITECTURES.keys()


@pytest.mark.parametrize("name", ["llama", "mixtral", "qwen3_moe", "gpt_oss", "gpt2", "falcon_new", "phi3"])
def test_quantised_matrices_are_kept_as_stored(name, tmp_path):
    wide = {"hidden_size": 64, "intermediate_size": 64, "moe_intermediate_size": 32, "head_dim": 16}
    original = build(lambda: _wider(name, wide))
    file = write_model(original, tmp_path / "tiny.gguf", kind=gguf.GGMLQuantizationType.Q8_0)
    stored, dense = load_model(file, dtype="stored"), load_model(file)
    ids = _ids()
    torch.testing.assert_close(
        _log_probabilities(stored, ids), _log_probabilities(dense, ids), atol=1e-5, rtol=0
    )
    assert stored.identity == dense.identity
    layer = stored.spec.layers[1]
    mlp = layer.mlp.experts[1] if hasattr(layer.mlp, "experts") else layer.mlp
    assert isinstance(layer.attention.w_q, QuantisedWeight) and isinstance(mlp.w_down, QuantisedWeight)


def _wider(name: str, wide: dict[str, int]) -> PreTrainedModel:
    """The model of a case with widths that blocks of 32 fit."""
    config = CASES[name].build().config
    for key, value in wide.items():
        if key in config.to_dict():
            setattr(config, key, value)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


class TestLongRope:
    """Up to the length of the first training the short factors hold; longer prompts are refused."""

    def test_longer_prompts_are_refused_by_the_number_of_positions(self, tmp_path):
        original = build(CASES["phi3_long_rope"].build)
        assert load_model(write_model(original, tmp_path / "x.gguf")).spec.max_positions == 32

    def test_other_factors_are_other_logits(self, tmp_path):
        def change(keys: Keys, tensors: Tensors) -> None:
            tensors["rope_factors_short.weight"] = tensors["rope_factors_short.weight"] * 2

        original, ids = build(CASES["phi3_long_rope"].build), _ids()
        file = write_model(original, tmp_path / "x.gguf", change=change)
        with torch.no_grad():
            expected = original(ids).logits[0].double().log_softmax(-1)
        assert (_log_probabilities(load_model(file), ids) - expected).abs().max() > 0.1


class TestPartsAndNames:
    @pytest.mark.parametrize("given", [0, 1, 2])
    def test_the_parts_of_a_split_model_are_joined(self, given, tmp_path):
        original, ids = build(llama), _ids()
        first = write_model(original, tmp_path / "m.gguf", parts=3)
        file = sorted(first.parent.glob("m-*.gguf"))[given]
        with torch.no_grad():
            expected = original(ids).logits[0].double().log_softmax(-1)
        for dtype in (torch.float32, "stored"):
            torch.testing.assert_close(
                _log_probabilities(load_model(file, dtype=dtype), ids), expected, atol=1e-4, rtol=0
            )

    def test_a_missing_part(self, tmp_path):
        first = write_model(build(llama), tmp_path / "m.gguf", parts=3)
        (tmp_path / "m-00002-of-00003.gguf").unlink()
        with pytest.raises(
            KCircuitsError, match=r"one of 3 parts of a model, but m-00002-of-00003\.gguf is missing"
        ):
            load_model(first)

    def test_a_part_under_another_name(self, tmp_path):
        first = write_model(build(llama), tmp_path / "m.gguf", parts=2)
        first.rename(tmp_path / "alone.gguf")
        with pytest.raises(
            KCircuitsError, match=r"one of 2 parts of a model; name them NAME-00001-of-00002\.gguf"
        ):
            load_model(tmp_path / "alone.gguf")

    def test_parts_of_two_models(self, tmp_path):
        write_model(build(llama), tmp_path / "m.gguf", parts=2)
        second = tmp_path / "m-00002-of-00002.gguf"
        second.write_bytes((tmp_path / "m-00001-of-00002.gguf").read_bytes())
        with pytest.raises(KCircuitsError, match="a second time"):
            load_model(second)

    @pytest.mark.parametrize("name", ["sha256-0123456789abcdef", "model.bin"])
    def test_a_file_is_known_by_its_content(self, name, tmp_path):
        file = write_model(build(llama), tmp_path / name)
        assert load_model(file).spec.num_heads == 4

    @pytest.mark.parametrize("name", ["mistral", "Mistral 7B", "qwen"])
    def test_the_name_in_the_header_decides_nothing(self, name, tmp_path):
        def change(keys: Keys, tensors: Tensors) -> None:
            keys["general.name"] = name

        model = load_model(write_model(build(llama), tmp_path / "x.gguf", change=change))
        assert model.identity["family"] == "llama"


class TestAccount:
    """Nothing that a file says is dropped without a word."""

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("llama.attention.clamp_kqv", 3.0),
            ("llama.logit_scale", 0.5),
            ("llama.rope.dimension_sections", [4, 4, 4, 4]),
            ("llama.attention.max_alibi_bias", 8.0),
            ("gpt2.block_count", 3),
            ("adapter.type", "lora"),
            ("tokenizer.ggml.unheard_of", 3),
            ("tokenizer.ggml.add_mask_token", True),
            ("llama.expert_shared_feed_forward_length", 8),
        ],
    )
    def test_an_unknown_key_is_named(self, key, value, tmp_path):
        def change(keys: Keys, tensors: Tensors) -> None:
            del keys["tokenizer.ggml.model"]  # "none", which says that no key of a tokenizer counts
            keys[key] = value

        file = write_model(build(llama), tmp_path / "x.gguf", change=change)
        for dtype in (torch.float32, "stored"):
            with pytest.raises(KCircuitsError, match=f"has the key '{key}' = .*, which is not used"):
                load_model(file, dtype=dtype)

    @pytest.mark.parametrize(
        "name", ["blk.0.attn_q.scale", "blk.0.ffn_gate_shexp.weight", "output.bias", "cls.weight"]
    )
    def test_an_unknown_tensor_is_named(self, name, tmp_path):
        def change(keys: Keys, tensors: Tensors) -> None:
            tensors[name] = tensors["output_norm.weight"]

        file = write_model(build(llama), tmp_path / "x.gguf", change=change)
        for dtype in (torch.float32, "stored"):
            with pytest.raises(KCircuitsError, match=f"has the tensor '{name}', which is not used"):
                load_model(file, dtype=dtype)

    @pytest.mark.parametrize(
        ("builder", "key", "value", "message"),
        [
            (llama, "llama.attention.scale", 0.5, "scales attention by 0.5"),
            (llama, "llama.attention.causal", False, "attends to later tokens"),
            (llama, "llama.attention.value_length", 4, "values and keys of different widths"),
            (llama, "llama.rope.dimension_count", 4, "rotates 4 of 8 dimensions"),
            (llama, "llama.vocab_size", 60, "61 token embeddings, but its header differs"),
            (llama, "llama.feed_forward_length", [48, 48, 40], "differs between layers"),
            (llama, "llama.rope.scaling.type", "unheard", "lacks the key 'llama.rope.scaling.factor'"),
            (llama, "llama.rope.scaling.factor", 2.0, "scaling.factor, but not its type"),
            (llama, "llama.rope.freq_base", 0.0, "rope.freq_base is 0.0, not positive"),
            (
                llama,
                "llama.rope.freq_base",
                float("nan"),
                "rope.freq_base is nan, which is not a finite number",
            ),
            (llama, "llama.context_length", 0, "context_length is 0, not a positive number"),
            (llama, "llama.attention.layer_norm_rms_epsilon", -1.0, "epsilon of a norm is -1.0"),
            (llama, "llama.block_count", 300, "tensors, too few for 300 layers"),
            (
                BUILDERS["mixtral"],
                "llama.expert_used_count",
                0,
                "chosen experts is 0, and must be from 1 to 4",
            ),
            (
                BUILDERS["mixtral"],
                "llama.expert_used_count",
                5,
                "chosen experts is 5, and must be from 1 to 4",
            ),
            (CASES["gemma2"].build, "gemma2.attention.sliding_window", 0, "sliding window is 0"),
            (CASES["gemma2"].build, "gemma2.attn_logit_softcapping", 0.0, "soft cap of attention is 0.0"),
            (llama, "general.type", "adapter", "of the type 'adapter', not a language model"),
            (
                llama,
                "general.architecture",
                "mamba",
                "'mamba', which is not read from GGUF yet; known: falcon, ",
            ),
            (BUILDERS["mixtral"], "llama.expert_gating_func", 2, "selects experts by the function 2"),
            (BUILDERS["olmo2"], "olmo2.attention.sliding_window", 4, "OLMo 3"),
            (
                BUILDERS["llama_rope_yarn"],
                "llama.rope.scaling.yarn_ext_factor",
                0.5,
                "yarn_ext_factor of 0.5",
            ),
            (gpt2, "gpt2.context_length", 33, "has 32 position embeddings, but its header says 33"),
        ],
    )
    def test_a_value_that_is_not_supported_is_named(self, builder, key, value, message, tmp_path):
        file = write_model(
            build(builder), tmp_path / "x.gguf", change=lambda keys, _: keys.update({key: value})
        )
        with pytest.raises(KCircuitsError, match=message):
            load_model(file)

    def test_layers_that_agree_may_be_listed(self, tmp_path):
        lists = {"llama.feed_forward_length": [48] * 3, "llama.attention.head_count": [4] * 3}
        file = write_model(build(llama), tmp_path / "x.gguf", change=lambda keys, _: keys.update(lists))
        assert load_model(file).spec.num_heads == 4

    @pytest.mark.parametrize("name", ["llama_rope_linear", "stablelm"])
    def test_a_file_that_lacks_anything_gives_the_same_numbers_or_an_error(self, name, tmp_path):
        whole = Whole(name)
        for number, change in enumerate(whole.changes()):
            if change[1].startswith(("blk.0.", "blk.2.")):  # one layer is enough
                continue
            file = tmp_path / f"{number}.gguf"
            file.write_bytes(whole.without(*change))
            with suppress(KCircuitsError):
                whole.compare(file)


NOTES = {"general.file_type": 15, "general.quantization_version": 2, "general.tags": ["text"]}
OLLAMA = {
    **{f"tokenizer.ggml.add_{name}_token": False for name in ("padding", "unknown", "mask", "cls")},
    "tokenizer.ggml.eos_token_ids": [1, 106],
}
PROGRAMS: dict[str, tuple[str, Keys, tuple[str, ...]]] = {
    "llama 2 of 2023": ("llama_default_base", NOTES, ("llama.rope.freq_base", "llama.vocab_size")),
    "mradermacher": ("llama", {"mradermacher.quantized_by": "x", "mradermacher.quantize_version": "2"}, ()),
    "imatrix": ("llama", {"quantize.imatrix.file": "x", "quantize.imatrix.entries_count": 3}, ()),
    "another program's notes": ("llama", {"something.else": "x"}, ()),
    "ollama": ("gemma3", OLLAMA, ()),
    "gemma's text of a multimodal file": (
        "gemma3",
        {"gemma3.mm.tokens_per_image": 256, "gemma3.vision.block_count": 27},
        (),
    ),
    "no shared experts": ("qwen3_moe", {"qwen3moe.expert_shared_feed_forward_length": 0}, ()),
    "scaling that is none": (
        "llama",
        {"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 0.0},
        (),
    ),
    "an old factor of 0": ("llama", {"llama.rope.scale_linear": 0.0}, ()),
    "a tokenizer's rule without a tokenizer": ("llama", {"tokenizer.ggml.pre": "default"}, ()),
}
"""Headers as programs write them: a case, what is added, and what is left out."""


class TestPrograms:
    @pytest.mark.parametrize("name", PROGRAMS)
    def test_headers_of_programs_are_read(self, name, tmp_path):
        case, added, left_out = PROGRAMS[name]
        original, ids = build(CASES[case].build), _ids()

        def change(keys: Keys, tensors: Tensors) -> None:
            keys.update(added)
            for key in left_out:
                del keys[key]

        file = write_model(original, tmp_path / "x.gguf", change=change)
        with torch.no_grad():
            expected = original(ids).logits[0].double().log_softmax(-1)
        torch.testing.assert_close(_log_probabilities(load_model(file), ids), expected, atol=1e-4, rtol=0)

    def test_ollama_has_names_of_its_own_for_gemma_s_bases(self, tmp_path):
        def change(keys: Keys, tensors: Tensors) -> None:
            keys["gemma3.rope.global.freq_base"] = keys.pop("gemma3.rope.freq_base")
            keys["gemma3.rope.local.freq_base"] = 10000.0

        original, ids = build(CASES["gemma3"].build), _ids()
        file = write_model(original, tmp_path / "x.gguf", change=change)
        with torch.no_grad():
            expected = original(ids).logits[0].double().log_softmax(-1)
        torch.testing.assert_close(_log_probabilities(load_model(file), ids), expected, atol=1e-4, rtol=0)

    def test_the_first_files_of_phi_3_do_not_say_their_window(self, tmp_path):
        def change(keys: Keys, tensors: Tensors) -> None:
            del keys["phi3.attention.sliding_window"]

        file = write_model(build(CASES["phi3"].build), tmp_path / "x.gguf", change=change)
        with pytest.raises(KCircuitsError, match="has no window size for Phi-3's layers"):
            load_model(file)

    def test_a_first_part_without_tensors(self, tmp_path):
        original, ids = build(llama), _ids()
        keys, tensors = hf_to_gguf.keys_of(original), hf_to_gguf.tensors_of(original)
        first = hf_to_gguf.write_file(keys, tensors, tmp_path / "m.gguf", parts=2, empty_first=True)
        with torch.no_grad():
            expected = original(ids).logits[0].double().log_softmax(-1)
        torch.testing.assert_close(_log_probabilities(load_model(first), ids), expected, atol=1e-4, rtol=0)
