"""Reading safetensors: what is read, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kcircuits.errors import KCircuitsError
from kcircuits.model.weights import read_weights
from tests.models import save, tiny_model

INDEX = "model.safetensors.index.json"


def write_index(folder: Path, *files: object) -> None:
    content = {"weight_map": {f"w{number}": file for number, file in enumerate(files)}}
    (folder / INDEX).write_text(json.dumps(content))


@pytest.mark.parametrize("shard_size", ["1GB", "20KB"])
@pytest.mark.parametrize("name", ["gpt2", "llama_gqa"])
def test_every_tensor_is_read_as_stored(name, shard_size, tmp_path):
    model = tiny_model(name)
    folder = save(model, tmp_path, shard_size=shard_size)
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (shard_size == "20KB")
    weights = read_weights(folder)
    assert set(weights) == {parameter for parameter, _ in model.named_parameters()}
    for parameter, value in model.named_parameters():
        assert torch.equal(weights[parameter], value)


def test_what_is_written_to_a_tensor_never_reaches_the_file(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"w": torch.zeros(5)}, file)
    before = file.read_bytes()
    read_weights(tmp_path)["w"].fill_(1.0)
    assert file.read_bytes() == before
    assert torch.equal(read_weights(tmp_path)["w"], torch.zeros(5))


def test_a_single_file_goes_before_an_index_of_the_same_tensors(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"w": "elsewhere.safetensors"}}))
    assert list(read_weights(tmp_path)) == ["w"]


def test_a_single_file_and_an_index_of_other_tensors(tmp_path):
    save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"v": "elsewhere.safetensors"}}))
    with pytest.raises(
        KCircuitsError, match=r"has both model\.safetensors and .*only one of them has 'v'; remove"
    ):
        read_weights(tmp_path)


def test_a_tensor_in_two_shards(tmp_path):
    for name in ("a", "b"):
        save_file({"w": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    write_index(tmp_path, "a.safetensors", "b.safetensors")
    with pytest.raises(KCircuitsError, match=r"b\.safetensors has 'w', which another file also has"):
        read_weights(tmp_path)


def test_shards_without_an_index(tmp_path):
    for number in (1, 2):
        save_file({f"w{number}": torch.ones(1)}, tmp_path / f"model-0000{number}-of-00002.safetensors")
    with pytest.raises(
        KCircuitsError, match=r"has 2 safetensors files \(model-00001-of-00002\.safetensors\), but neither"
    ):
        read_weights(tmp_path)


def test_a_linked_file_is_read(tmp_path):
    """Hugging Face's cache is made of links."""
    save_file({"w": torch.ones(1)}, tmp_path / "blob")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    assert list(read_weights(folder)) == ["w"]


@pytest.mark.parametrize("as_absolute", [True, False], ids=["absolute", "relative"])
def test_an_index_that_leads_out_of_the_folder_is_refused(as_absolute, tmp_path):
    outside = tmp_path / "x.safetensors"
    save_file({"w0": torch.ones(1)}, outside)  # it could be read, were it not refused
    folder = tmp_path / "model"
    folder.mkdir()
    write_index(folder, str(outside) if as_absolute else "../x.safetensors")
    with pytest.raises(
        KCircuitsError, match=r"x\.safetensors', which is not a safetensors file in the same folder"
    ):
        read_weights(folder)


@pytest.mark.parametrize(
    "name", ["sub/x.safetensors", "x.bin", "..", ".", "", 3, None, ["x.safetensors"]], ids=repr
)
def test_an_index_of_anything_but_safetensors_files_in_the_folder_is_refused(name, tmp_path):
    write_index(tmp_path, name)
    with pytest.raises(KCircuitsError, match="index"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"weight_map": []}', '{"weight_map": 1}', "{}", "\udcff", "[" * 100_000]
)
def test_a_broken_index_is_refused(content, tmp_path):
    (tmp_path / INDEX).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(KCircuitsError, match="is not an index of weights"):
        read_weights(tmp_path)


def test_an_index_of_nothing_is_no_weights(tmp_path):
    write_index(tmp_path)
    with pytest.raises(KCircuitsError, match="lists no files"):
        read_weights(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    write_index(tmp_path, "model-00001-of-00001.safetensors")
    with pytest.raises(
        KCircuitsError, match=r"cannot read the weights in .*model-00001-of-00001\.safetensors"
    ):
        read_weights(tmp_path)


@pytest.mark.parametrize("kept", [0, 7, 60, 300])
def test_a_truncated_file_is_named(kept, tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"w": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(KCircuitsError, match=r"cannot read the weights in .*model\.safetensors"):
        read_weights(tmp_path)


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(KCircuitsError, match=r"cannot read the weights in .*model\.safetensors"):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_refused_unread(name, tmp_path):
    (tmp_path / name).write_bytes(b"not even a pickle")
    with pytest.raises(
        KCircuitsError, match=f"only pickled weights \\({name}\\).*convert them to safetensors"
    ):
        read_weights(tmp_path)


def test_no_weights_at_all(tmp_path):
    with pytest.raises(KCircuitsError, match="has no weights"):
        read_weights(tmp_path)


# Reads the weights of a folder in a process that may have so many more bytes of address space.
LIMITED = """
import re, resource, sys
from pathlib import Path
from safetensors import safe_open
import torch
from kcircuits.model.weights import read_weights

has = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (has + int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    read_weights(Path(sys.argv[1]))
except MemoryError as error:
    print(error)
"""


def test_weights_that_do_not_fit_into_the_address_space(tmp_path):
    size = 2**30
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    file = tmp_path / "model.safetensors"
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + size)  # a hole: no bytes on the disk
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), str(3 * size // 2)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"not enough memory for the weights in {file}, 1.0")
