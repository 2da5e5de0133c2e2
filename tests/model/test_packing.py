"""A model through a pickle with its storages beside it: the same tensors, of the same memory."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from kcircuits.model.devices import tensors_of
from kcircuits.model.loading import Model, load_model
from kcircuits.model.packing import pack_model, unpack_model
from tests.models import save, tiny_model


def through_a_pickle(model: Model) -> tuple[Model, bytes]:
    """The model as another process has it, its storages read-only as those of an object store are."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(pack_model(model), protocol=5, buffer_callback=buffers.append)
    there = [memoryview(bytes(buffer.raw())) for buffer in buffers]
    return unpack_model(pickle.loads(pickled, buffers=there)), pickled


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, "q8", "q4"], ids=str)
@pytest.mark.filterwarnings("error")
def test_the_same_tensors(tmp_path, dtype):
    save(tiny_model("gpt2"), tmp_path / "model")
    model = load_model(tmp_path / "model", dtype=dtype)
    found, pickled = through_a_pickle(model)
    before, after = list(tensors_of(model.spec)), list(tensors_of(found.spec))
    assert len(before) == len(after) > 10
    for one, other in zip(before, after, strict=True):
        assert (one.dtype, one.stride()) == (other.dtype, other.stride())
        assert torch.equal(one, other)
    assert found.identity == model.identity
    assert found.spec.graph == model.spec.graph
    assert len(pickled) < sum(tensor.nbytes for tensor in before)  # the weights are beside it


def test_tied_weights_stay_tied_and_nothing_is_copied(tmp_path):
    save(tiny_model("gpt2"), tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert model.spec.embedding.data_ptr() == model.spec.unembedding.data_ptr()
    pack = pack_model(model)
    assert model.spec.embedding.untyped_storage().data_ptr() in {
        array.__array_interface__["data"][0] for array in pack.storages
    }
    found = unpack_model(pack)
    assert found.spec.embedding.data_ptr() == found.spec.unembedding.data_ptr()
    assert len({array.__array_interface__["data"][0] for array in pack.storages}) == len(pack.storages)
    assert all(array.dtype == np.uint8 for array in pack.storages)
