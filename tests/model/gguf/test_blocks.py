"""Every type of blocks against the gguf library: the same numbers, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from hypothesis import given, settings
from hypothesis import strategies as st

from kcircuits.errors import KCircuitsError
from kcircuits.model.devices import tensors_of
from kcircuits.model.gguf.blocks import TYPES, stored_weight
from kcircuits.model.quantised import QuantisedWeight, dense

# Where the float16 numbers of a block are; all other bytes may be anything.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}  # fmt: skip
BITS = {"Q4_0": 4.5, "Q4_1": 5, "Q2_K": 5.125, "Q3_K": 4.5625, "Q4_K": 4.625}
"""Per number, as kept; every other type takes a byte and its scales."""


def random_blocks(kind: str, rows: int, blocks: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    _, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    data = rng.integers(0, 256, (rows * blocks, size), dtype=np.uint8)
    for place in HALVES[kind]:
        data[:, place : place + 2] = rng.normal(size=(len(data), 1)).astype(np.float16).view(np.uint8)
    return data.reshape(rows, -1)


def test_all_types_are_tested():
    assert set(HALVES) | {"F32", "F16", "BF16"} == set(TYPES)


@pytest.mark.parametrize("kind", HALVES)
@settings(max_examples=15)
@given(rows=st.integers(1, 5), blocks=st.integers(1, 3), seed=st.integers(0, 1000))
def test_the_numbers_are_those_of_the_library(kind, rows, blocks, seed):
    data = random_blocks(kind, rows, blocks, seed)
    weight = stored_weight(data, kind)
    expected = torch.from_numpy(dequantize(data, GGMLQuantizationType[kind]))
    assert torch.equal(dense(weight).view(torch.int32), expected.view(torch.int32))  # signs of zeros, too
    assert isinstance(weight, QuantisedWeight)
    some = torch.tensor([rows - 1, 0])
    assert torch.equal(dense(weight.rows(some)), expected[some])


@pytest.mark.parametrize("kind", HALVES)
def test_what_a_number_takes(kind):
    weight = stored_weight(random_blocks(kind, 4, 2, 0), kind)
    assert isinstance(weight, QuantisedWeight)
    bits = sum(part.nbytes for part in tensors_of(weight)) * 8 / weight.shape.numel()
    assert bits == BITS[kind] if kind in BITS else 8.5 <= bits <= 9


@pytest.mark.parametrize(("kind", "dtype"), [("F32", torch.float32), ("F16", torch.float16)])
def test_tensors_stay_tensors(kind, dtype):
    values = torch.randn(3, 5).to(dtype)
    assert torch.equal(dense(stored_weight(values.numpy(), kind)), values)


def test_bfloat16():
    values = torch.randn(3, 5).bfloat16()
    assert torch.equal(dense(stored_weight(values.view(torch.uint8).numpy(), "BF16")), values)


def test_another_type_is_refused():
    with pytest.raises(
        KCircuitsError, match=r"of the type IQ2_XS cannot be kept as stored; known: F32, .*Q6_K"
    ):
        stored_weight(np.zeros((1, 74), dtype=np.uint8), "IQ2_XS")
