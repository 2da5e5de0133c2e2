"""The hash of a model's weights, and what else tells models apart."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from kcircuits.errors import KCircuitsError
from kcircuits.model.identity import configuration_hash, identity_of, weights_hash
from kcircuits.model.weights import read_weights
from tests.models import as_dtype, quantised_spec, save, tiny_model, tiny_spec


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": torch.randn(4, 6, generator=generator),
        "half": torch.randn(5, generator=generator).bfloat16(),
        "counter": torch.arange(3),
        "scalar": torch.tensor(2.0),
        "empty": torch.zeros(0, 3),
    }


def test_the_hash_does_not_depend_on_shards(tmp_path):
    model = tiny_model("llama_gqa")
    one = read_weights(save(model, tmp_path / "one"))
    many = read_weights(save(model, tmp_path / "many", shard_size="10KB"))
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 3
    assert weights_hash(one) == weights_hash(many)


def test_the_hash_depends_on_neither_order_nor_layout():
    expected = weights_hash(weights())
    assert weights_hash(dict(reversed(weights().items()))) == expected
    assert weights_hash({**weights(), "matrix": weights()["matrix"].t().contiguous().t()}) == expected


def test_the_hash_stays_as_it_is():
    """circuit.json files keep it for years."""
    values = {"a": torch.arange(6, dtype=torch.float32).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    assert weights_hash(values) == "18199d3f6a5c33106e6f9d2c20557e25c2670f97f940c6536a18d77549fdd559"


@pytest.mark.parametrize(
    "change",
    [
        {"matrix": weights()["matrix"].reshape(6, 4)},
        {"matrix": weights()["matrix"].nextafter(torch.tensor(9.0))},
        {"half": weights()["half"].view(torch.float16)},
        {"counter": torch.tensor([0, 2, 1])},
        {"scalar": torch.tensor([2.0])},
        {"more": torch.zeros(1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_change_changes_the_hash(change):
    assert weights_hash({**weights(), **change}) != weights_hash(weights())


def test_swapped_names_change_the_hash():
    values = {"a": torch.zeros(2), "b": torch.ones(2)}
    assert weights_hash(values) != weights_hash({"a": values["b"], "b": values["a"]})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_a_weight_that_is_not_finite_is_named(bad, dtype):
    values = {**weights(), "layers.3.weight": torch.ones(10, 10, dtype=dtype)}
    values["layers.3.weight"][4, 5:7] = bad
    with pytest.raises(
        KCircuitsError, match=r"^2 of 100 values of the weight 'layers\.3\.weight' are NaN or infinite"
    ):
        weights_hash(values)


def test_opposite_infinities_do_not_cancel():
    with pytest.raises(KCircuitsError, match="2 of 2 values"):
        weights_hash({"w": torch.tensor([float("inf"), float("-inf")])})


@pytest.mark.parametrize(("dtype", "large"), [(torch.float32, 3e38), (torch.float64, 1e300)], ids=str)
def test_finite_weights_whose_sum_overflows_are_fine(dtype, large):
    weights_hash({"w": torch.full((10,), large, dtype=dtype)})


@pytest.mark.parametrize("name", ["gpt2", "llama_gqa"])
def test_identity(name):
    spec = tiny_spec(name)
    identity = identity_of("tiny", spec, "abc")
    assert identity == {
        "name": "tiny",
        "family": "gpt2" if name == "gpt2" else "llama",
        "num_layers": 3,
        "num_heads": 4,
        "num_kv_heads": 4 if name == "gpt2" else 2,
        "parallel": False,
        "width": 32,
        "vocab_size": 61,
        "weights_hash": "abc",
        "configuration": configuration_hash(spec),
    }
    assert json.loads(json.dumps(identity)) == identity


class TestConfiguration:
    """What a model computes with beside its weights."""

    def test_it_is_the_same_for_every_way_to_keep_weights(self):
        spec = tiny_spec("llama_rope_llama3")
        assert configuration_hash(as_dtype(spec, torch.bfloat16)) == configuration_hash(spec)
        assert configuration_hash(quantised_spec("llama_rope_llama3", 4)) == configuration_hash(spec)
        assert configuration_hash(as_dtype(spec, torch.bfloat16), exact=True) != configuration_hash(
            spec, exact=True
        )

    @pytest.mark.parametrize("exact", [False, True])
    def test_every_number_counts(self, exact):
        spec = tiny_spec("gemma2")
        layer = spec.layers[0]
        rotary = layer.attention.rotary
        assert rotary is not None
        others = [
            replace(layer, attention=replace(layer.attention, scale=0.3)),
            replace(layer, attention=replace(layer.attention, window=7)),
            replace(layer, attention=replace(layer.attention, soft_cap=None)),
            replace(layer, attention=replace(layer.attention, rotary=None)),
            replace(layer, attention=replace(layer.attention, rotary=replace(rotary, scale=1.1))),
            replace(
                layer,
                attention=replace(
                    layer.attention,
                    rotary=replace(rotary, inv_freq=rotary.inv_freq / torch.tensor([1, 1, 1, 2])),
                ),
            ),
            replace(layer, mlp_norm=replace(layer.mlp_norm, eps=1e-3)),
            replace(layer, mlp=replace(layer.mlp, activation="relu")),
        ]
        hashes = {
            configuration_hash(replace(spec, layers=(one, *spec.layers[1:])), exact=exact) for one in others
        }
        assert len(hashes | {configuration_hash(spec, exact=exact)}) == len(others) + 1

    def test_rounding_of_angles_counts_only_where_every_bit_does(self):
        spec = tiny_spec("llama")
        layers = tuple(
            replace(
                layer,
                attention=replace(
                    layer.attention,
                    rotary=replace(
                        layer.attention.rotary, inv_freq=layer.attention.rotary.inv_freq * (1 + 2e-7)
                    ),
                ),
            )
            for layer in spec.layers
        )
        rounded = replace(spec, layers=layers)
        assert configuration_hash(rounded) == configuration_hash(spec)
        assert configuration_hash(rounded, exact=True) != configuration_hash(spec, exact=True)
