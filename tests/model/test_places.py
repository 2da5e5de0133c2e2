"""Views and rows of stored tensors are found, whatever was done to get them, and nothing else is."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kcircuits.model.places import StoredTensors, View


def stored() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(200, generator=generator)  # as in a mapped file: one storage, tensors side by side
    return {"a": whole[:60].view(10, 6), "b": whole[60:66], "c": whole[66:186].view(4, 5, 6)}


TENSORS = stored()
STORED = StoredTensors(TENSORS)


@st.composite
def views(draw: st.DrawFn) -> tuple[str, Tensor]:
    name = draw(st.sampled_from(sorted(TENSORS)))
    tensor = TENSORS[name]
    for _ in range(draw(st.integers(0, 3))):
        dim = draw(st.integers(0, tensor.ndim - 1))
        if draw(st.booleans()):
            tensor = tensor.transpose(0, dim)
            continue
        start = draw(st.integers(0, tensor.shape[dim] - 1))
        stop = draw(st.integers(start + 1, tensor.shape[dim]))
        index = (slice(None),) * dim + (slice(start, stop, draw(st.integers(1, 2))),)
        tensor = tensor[index]
    return name, tensor


@given(views())
def test_a_view_is_found_by_its_address(case):
    name, tensor = case
    place = STORED.view(tensor)
    assert place is not None
    assert place.name == name
    source = TENSORS[name]
    again = source.as_strided(place.shape, place.stride, source.storage_offset() + place.offset)
    assert again.data_ptr() == tensor.data_ptr()
    assert torch.equal(again, tensor)


def test_what_is_no_view():
    assert STORED.view(TENSORS["a"].clone()) is None
    assert STORED.view(TENSORS["a"].view(torch.int32)) is None
    assert STORED.view(TENSORS["a"].flatten().as_strided((70,), (1,))) is None  # reaches into its neighbour
    assert STORED.view(torch.empty(0)) is None
    assert StoredTensors({}).view(TENSORS["a"]) is None


@given(st.sampled_from(["a", "b"]).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(st.integers(0, len(TENSORS[name]) - 1), min_size=1))
))  # fmt: skip
def test_rows_are_found_by_their_content(case):
    name, order = case
    (found,) = STORED.rows([TENSORS[name][order]], {"a", "b", "c"})
    assert found == (name, order)


def test_what_is_no_rows():
    a, c = TENSORS["a"], TENSORS["c"]
    mixed = torch.cat([a[:1], c[0, :1]])
    several = [a * 2, a[:, :3], a.double(), mixed, a, c[1:3]]
    assert STORED.rows(several, {"a", "c"}) == [None, None, None, None, ("a", list(range(10))), ("c", [1, 2])]
    assert STORED.rows([a], {"c"}) == [None]


def test_equal_rows_are_any_of_them():
    zeros = StoredTensors({"x": torch.zeros(4, 3), "y": torch.zeros(4, 3)})
    (found,) = zeros.rows([torch.zeros(2, 3)], {"x", "y"})
    assert found == ("x", [0, 0])


def test_single_numbers_are_left_out():
    odd = StoredTensors({"one": torch.tensor(1.0), "none": torch.empty(0, 3)})
    assert odd.tensors == {}
    assert odd.view(torch.ones(2)) is None


def test_a_view_says_what_as_strided_takes():
    assert STORED.view(TENSORS["a"][2:].t()) == View("a", 12, (6, 8), (1, 6))
