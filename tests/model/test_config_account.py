"""No value of a configuration is silently wrong: the numbers are Transformers', or the model is refused."""

from __future__ import annotations

import copy
import inspect
import random
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from kcircuits.errors import KCircuitsError
from kcircuits.model.config_account import READ_ANYWAY, ConfigAccount
from kcircuits.model.config_keys import HARMLESS
from kcircuits.model.families import FAMILIES, account_of, spec_of
from kcircuits.model.families.common import decoder, gated_mlp, rms_norm, rotary
from kcircuits.model.families.llama import attention
from kcircuits.model.forward import forward
from kcircuits.model.huggingface import silence_transformers
from kcircuits.model.loading import load_model
from kcircuits.model.spec import Layer, ModelSpec
from tests.model.config_values import BASES, LAYERS, POSITIONS, keys_of_others, one_change_each
from tests.model.editing import edit_json
from tests.models import build, gpt2, llama, random_prompts, tiny_model

LENGTH = 24  # longer than every window, and than the original length of every scaled rotation
TOKENS, MASK = random_prompts([LENGTH], seed=3)

# Fields of every configuration, which no model reads.
EVERYWHERE = frozenset(inspect.signature(PretrainedConfig).parameters)

every_family = pytest.mark.parametrize("family", sorted(FAMILIES))


def model_of(family: str, sizes: dict[str, Any]) -> PreTrainedModel:
    def builder() -> PreTrainedModel:
        config = CONFIG_MAPPING[family](**copy.deepcopy(sizes))
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")

    return build(builder)


def outcome(family: str, sizes: dict[str, Any]) -> str:
    """What becomes of a configuration: "same" numbers as Transformers', "refused", or how far they are off.

    "unbuilt": Transformers has no such model; "unrun": it builds one and cannot run it.
    """
    try:
        model = model_of(family, sizes)
    except Exception:  # of many types
        return "unbuilt"
    try:
        spec = spec_of(model)
    except KCircuitsError:
        return "refused"
    model.config.return_dict = True  # what Transformers returns is not what it computes
    length = min(LENGTH, spec.max_positions)
    tokens, mask = TOKENS[:, :length], MASK[:, :length]
    ours = forward(spec, tokens, mask)
    try:
        with torch.no_grad():
            expected = model(tokens).logits
    except Exception:  # of many types
        return "unrun"
    difference = float((ours - expected).abs().max())
    return "same" if difference < 1e-4 else f"off by {difference:.3g}"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with silence_transformers(), warnings.catch_warnings():
        yield


@every_family
def test_every_value_of_every_field(family):
    """Counts too: a family that refuses everything would be safe and useless."""
    seen: dict[str, int] = {}
    for base in BASES[family]:
        assert outcome(family, base) == "same"
        for key, value in one_change_each(family):
            result = outcome(family, base | {key: value})
            assert result in ("same", "refused", "unbuilt"), f"{key} = {value!r} in {base}: {result}"
            seen[result] = seen.get(result, 0) + 1
    assert seen["same"] > 0.6 * sum(seen.values())


@every_family
def test_values_of_two_fields_at_once(family):
    """A few, always the same ones; what Transformers builds and cannot run has no right numbers."""
    changes = [change for change in one_change_each(family) if change[0] not in EVERYWHERE]
    draw = random.Random(family)
    for _ in range(15):
        base, both = draw.choice(BASES[family]), dict(draw.sample(changes, 2))
        result = outcome(family, base | both)
        assert result in ("same", "refused", "unbuilt", "unrun"), f"{both} in {base}: {result}"


@every_family
def test_every_key_of_the_other_families(family):
    base = BASES[family][-1]
    for key, value in keys_of_others(family):
        result = outcome(family, base | {key: value})
        assert result in ("same", "refused", "unbuilt"), f"{key} = {value!r}: {result}"


PUBLISHED: list[tuple[str, dict[str, Any]]] = [
    (
        "llama",
        {"is_llama_config": True, "rope_interleaved": False, "transformers.js_config": {"dtype": "q8"}},
    ),
    ("llama", {"rope_theta": 100.0, "rope_scaling": None, "pretraining_tp": 2, "torch_dtype": "bfloat16"}),
    ("llama", {"unsloth_fixed": True, "unsloth_version": "2024.9", "_name_or_path": "someone/model"}),
    (
        "llama",
        {"tokenizer_class": "X", "_flash_attn_2_enabled": True, "sliding_window": None, "temperature": 0.6},
    ),
    ("llama", {"rope_scaling": {"type": "yarn", "factor": 4.0, "finetuned": True}, "num_labels": 3}),
    ("gpt2", {"n_ctx": POSITIONS, "task_specific_params": {"text-generation": {"max_length": 50}}}),
    (
        "gpt2",
        {"_num_labels": 1, "gradient_checkpointing": False, "predict_special_tokens": True, "n_special": 0},
    ),
    (
        "gpt2",
        {"summary_type": "cls_index", "summary_first_dropout": 0.2, "resid_pdrop": 0.3, "n_inner": None},
    ),
    ("gptj", {"rotary": True, "scale_attn_weights": True, "tokenizer_class": "GPT2Tokenizer"}),
    ("gpt_neox", {"rotary_pct": 0.5, "rotary_emb_base": 100, "classifier_dropout": 0.3, "bos_token_id": 1}),
    (
        "opt",
        {"activation_dropout": 0.1, "prefix": "</s>", "_remove_final_layer_norm": False, "layerdrop": 0.1},
    ),
    ("phi", {"partial_rotary_factor": 0.5, "resid_pdrop": 0.1, "embd_pdrop": 0.1}),
    ("phi3", {"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False, "mlp_bias": False}),
    ("phi3", {"partial_rotary_factor": 0.5, "attention_bias": False, "embd_pdrop": 0.1}),
    ("falcon", {"apply_residual_connection_post_layernorm": False, "ff_factor": 4, "hidden_dropout": 0.1}),
    ("stablelm", {"partial_rotary_factor": 0.5, "use_cache": False, "hidden_dropout": 0.1}),
    (
        "mistral",
        {"rope_theta": 100.0, "attention_dropout": 0.1, "layer_types": ["sliding_attention"] * LAYERS},
    ),
    ("mixtral", {"router_jitter_noise": 0.1, "router_aux_loss_coef": 0.02, "output_router_logits": True}),
    (
        "qwen2",
        {"use_mrope": False, "max_window_layers": 21, "use_sliding_window": False, "hidden_act": "silu"},
    ),
    ("qwen3", {"max_window_layers": 36, "attention_bias": False, "rope_scaling": None}),
    ("qwen3_moe", {"max_window_layers": 48, "head_dim": 8, "decoder_sparse_step": 1, "mlp_only_layers": []}),
    ("gemma", {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu", "torch_dtype": "bfloat16"}),
    ("gemma2", {"hidden_act": "gelu_pytorch_tanh", "cache_implementation": "hybrid"}),
    ("gemma3_text", {"_sliding_window_pattern": 2, "rope_local_base_freq": 10.0, "rope_theta": 100.0}),
    (
        "gemma3_text",
        {"cache_implementation": "hybrid", "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    ),
    ("phi3", {"auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}, "loss_type": "X"}),
    ("gpt_oss", {"initial_context_length": 4096, "experts_per_token": 2, "swiglu_limit": 5.0}),
]


@pytest.mark.parametrize(("family", "keys"), PUBLISHED, ids=str)
def test_keys_of_published_checkpoints_are_no_obstacle(family, keys):
    assert outcome(family, BASES[family][0] | keys) == "same"


def test_gemma_3_has_no_soft_cap_of_attention_whatever_its_configuration_says():
    base = BASES["gemma3_text"][0]
    capped, plain = (model_of("gemma3_text", base | {"attn_logit_softcapping": cap}) for cap in (0.5, None))
    spec = spec_of(capped)
    assert {layer.attention.soft_cap for layer in spec.layers} == {None}
    assert torch.equal(forward(spec, TOKENS, MASK), forward(spec_of(plain), TOKENS, MASK))
    assert outcome("gemma3_text", base | {"attn_logit_softcapping": 0.5}) == "same"
    assert outcome("gemma3_text", base | {"final_logit_softcapping": 0.5}) == "same"  # this one it has


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sliding_window": 5},
            "sliding_window = 5, which Transformers does not read for llama models; if it",
        ),
        (
            {"logits_scaling": 8.0},
            r"logits_scaling = 8\.0, which Transformers does not read for llama models",
        ),
        ({"is_encoder_decoder": True}, r"is_encoder_decoder = True, which kcircuits does not use for llama"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0, "alpha": 3}},
            r"alpha = 3, .* for type 'linear' in",
        ),
        ({"quantization_config": {"bits": 4}}, r"quantization_config = \{'bits': 4\}, which"),
    ],
    ids=str,
)
def test_the_message_names_the_key_and_its_value(change, message):
    with pytest.raises(KCircuitsError, match=message):
        spec_of(model_of("llama", BASES["llama"][0] | change))


def test_a_folder_with_an_unused_value_is_refused(folder):
    edit_json(folder / "config.json", embedding_multiplier=12.0)
    with pytest.raises(KCircuitsError, match=r"^the configuration has embedding_multiplier = 12\.0, which"):
        load_model(folder)


@pytest.mark.parametrize("value", [False, None, 0])
def test_attention_to_later_tokens_is_refused(folder, value):
    """Transformers reads this key for every family, though no class of configurations declares it."""
    edit_json(folder / "config.json", is_causal=value)
    with pytest.raises(
        KCircuitsError, match=f"the configuration has is_causal = {value}, which is not supported"
    ):
        load_model(folder)
    edit_json(folder / "config.json", is_causal=True)
    assert load_model(folder).account.evident["is_causal"]


def test_no_other_key_is_read_by_transformers_without_being_declared():
    """Such a key has a default that is not false, so that false would not say nothing."""
    generic = [transformers.masking_utils, transformers.modeling_utils, transformers.modeling_rope_utils]
    pattern = r'getattr\((?:self\.)?config, "(\w+)", (?!None|False)'
    found = {name for module in generic for name in re.findall(pattern, inspect.getsource(module))}
    assert found <= READ_ANYWAY | HARMLESS.keys() | {"layer_types", "head_dim", "num_key_value_heads"}


def test_a_family_that_forgets_a_value_is_refused(monkeypatch):
    """As the author of a new family sees it."""

    def forgetful(hf_model: Any) -> ModelSpec:
        angles = rotary(hf_model.model.rotary_emb)

        def layer(block: Any) -> Layer:
            return Layer(
                attention_norm=rms_norm(block.input_layernorm),
                attention=attention(block.self_attn, angles, hf_model.config),
                mlp_norm=rms_norm(block.post_attention_layernorm),
                mlp=gated_mlp(block.mlp, "silu"),
            )

        return decoder(hf_model, layer)

    monkeypatch.setitem(FAMILIES, "llama", forgetful)
    spec_of(model_of("llama", BASES["llama"][0]))  # the default
    with pytest.raises(KCircuitsError, match="hidden_act = 'relu', which kcircuits does not use for llama"):
        spec_of(model_of("llama", BASES["llama"][0] | {"hidden_act": "relu"}))


def test_a_model_of_the_checkpoints_own_code_is_refused():
    own = type("LlamaForCausalLM", (LlamaForCausalLM,), {"__module__": "transformers_modules.x.modeling"})
    model = own(LlamaConfig(**BASES["llama"][0]))
    with pytest.raises(
        KCircuitsError, match=r"^LlamaForCausalLM is code of the checkpoint.*trust_remote_code"
    ):
        spec_of(model)


class TestAccount:
    def test_an_alias_counts_for_the_key_it_stands_for(self):
        account = account_of(build(gpt2))
        assert {"n_head", "n_positions", "activation_function"} <= set(account.used)
        assert "num_attention_heads" not in account.used

    def test_every_key_has_its_reason(self):
        account = account_of(build(lambda: llama(rms_norm_eps=1e-3, use_cache=False, unsloth_version="1")))
        assert {"hidden_act", "max_position_embeddings"} <= set(account.used)
        assert account.evident["rms_norm_eps"] == "each norm module has its own epsilon"
        assert account.harmless["unsloth_version"] == "a note about the checkpoint"
        assert {"use_cache", "architectures"} & account.harmless.keys() == {"use_cache"}
        keys = [*account.used, *account.evident, *account.harmless]
        assert len(keys) == len(set(keys))

    def test_a_model_has_it_and_so_has_its_kept_outline(self, folder):
        first, second = load_model(folder), load_model(folder)
        assert isinstance(first.account, ConfigAccount) and first.account.used
        assert second.account == first.account
        assert first.account.used == account_of(tiny_model("llama_gqa")).used


class TestRotationsThatDependOnTheLength:
    @pytest.mark.parametrize("kind", ["longrope", "su"])
    def test_long_rope_is_read_up_to_its_original_length(self, kind, tmp_path):
        model = model_of("phi3", BASES["phi3"][0] | {"rope_scaling": LONG | {"type": "longrope"}})
        model.save_pretrained(tmp_path)
        rope = LONG | {"type": kind}
        edit_json(tmp_path / "config.json", rope_parameters=None, rope_scaling=rope, rope_theta=100.0)
        edit_json(tmp_path / "config.json", original_max_position_embeddings=8)
        spec = load_model(tmp_path).spec
        assert spec.max_positions == 8
        rotary = spec.layers[0].attention.rotary
        assert rotary is not None
        torch.testing.assert_close(
            rotary.inv_freq, 1 / (torch.tensor(LONG["short_factor"]) * 100.0 ** (torch.arange(4) / 4))
        )

    def test_a_model_that_has_run_a_longer_prompt_has_the_same_frequencies(self):
        rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 100.0}
        model = model_of("llama", BASES["llama"][0] | {"rope_parameters": rope})
        before = spec_of(model).layers[0].attention.rotary
        with torch.no_grad():
            model(random_prompts([2 * POSITIONS])[0])
        after = spec_of(model).layers[0].attention.rotary
        assert before is not None and after is not None
        assert torch.equal(before.inv_freq, after.inv_freq)
        torch.testing.assert_close(after.inv_freq, 100.0 ** -(torch.arange(4) / 4))


LONG = {"short_factor": [1.0, 1.5, 2.0, 3.0], "long_factor": [4.0, 6.0, 8.0, 12.0]}
