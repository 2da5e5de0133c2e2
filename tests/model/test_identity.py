"""The hash of a model's weights, and what else tells models apart."""

from __future__ import annotations

import json

import pytest
import torch

from kcircuits.errors import KCircuitsError
from kcircuits.model.identity import identity_of, weights_hash
from kcircuits.model.weights import read_weights
from tests.models import save, tiny_model, tiny_spec


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
    }
    assert json.loads(json.dumps(identity)) == identity
