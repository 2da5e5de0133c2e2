"""Which weights are together, and what a device map may say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from kcircuits.errors import KCircuitsError
from kcircuits.model.devices import (
    check_together,
    colocate,
    devices_of,
    move_to,
    place_on_devices,
    read_device_map,
    shares,
)
from kcircuits.model.loading import load_model
from tests.models import tiny_spec

META = torch.device("meta")


def test_one_device_changes_nothing():
    spec = tiny_spec("llama_tied")
    for same in (colocate(spec), place_on_devices(spec, dict.fromkeys(range(3), "cpu"))):
        assert devices_of(same) == (torch.device("cpu"),)
        assert same.unembedding.data_ptr() == same.embedding.data_ptr() == spec.embedding.data_ptr()
        assert all(ours is theirs for ours, theirs in zip(same.layers, spec.layers, strict=True))
    check_together(spec, "acdc")


def test_a_layer_is_on_one_device():
    spec = tiny_spec("llama")
    torn = replace(spec.layers[1], mlp=move_to(spec.layers[1].mlp, META))
    with pytest.raises(KCircuitsError, match="layer 1 has weights that accelerate has not loaded"):
        colocate(replace(spec, layers=(spec.layers[0], torn, spec.layers[2])))


@pytest.mark.parametrize(
    ("sizes", "room", "expected"),
    [
        ([1, 1, 1, 1], [1, 1], [0, 0, 1, 1]),
        ([1, 1, 1, 1], [3, 1], [0, 0, 0, 1]),
        ([4, 1, 1], [1, 1], [0, 1, 1]),
        ([1, 1], [1], [0, 0]),
    ],
)
def test_layers_go_where_there_is_room(sizes, room, expected):
    assert shares(sizes, room) == expected


@pytest.mark.parametrize(
    ("device_map", "message"),
    [
        ({0: "cpu", 1: "cpu"}, "no device for layer 2 of 3"),
        ({0: "cpu", 1: "cpu", 2: "cpu", 3: "cpu"}, "names '3'; it may name 0 to 2"),
        ({0: "cpu", 1: "cpu", 2: "cpu", "head": "cpu"}, "names 'head'"),
        ({0: "cpu", 1: "cpu", 2: "nowhere"}, "device 'nowhere' is not usable"),
    ],
)
def test_bad_maps(device_map, message):
    with pytest.raises(KCircuitsError, match=message):
        place_on_devices(tiny_spec("llama"), device_map)


@pytest.mark.parametrize("text", ["[1]", '{"0": 1}', "{"])
def test_a_file_that_is_no_map(tmp_path, text):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(KCircuitsError, match=r"map\.json"):
        read_device_map(tmp_path / "map.json")


def test_load_with_a_map(tiny_folder, tmp_path):
    file = tmp_path / "map.json"
    file.write_text(json.dumps({str(layer): "cpu" for layer in range(3)}))
    for device_map in (file, str(file), {0: "cpu", 1: "cpu", 2: "cpu"}, "auto"):
        model = load_model(tiny_folder("llama"), device_map=device_map)
        assert len(model.spec.layers) == 3
    with pytest.raises(KCircuitsError, match="no device for layer 1"):
        load_model(tiny_folder("llama"), device_map={0: "cpu"})
