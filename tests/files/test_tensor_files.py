"""Safetensors files: the same bytes each time, and what the library reads."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load

from kcircuits.files.tensor_files import tensor_bytes

TENSORS = {"b": torch.arange(3.0), "a": torch.tensor([[1, 2]]), "é": torch.zeros(2, dtype=torch.bfloat16)}
METADATA = {name: f"value of {name} é" for name in ("format", "weights_hash", "senders", "model", "seed")}
SCRIPT = """
import sys, torch
from kcircuits.files.tensor_files import tensor_bytes
names = ["format", "weights_hash", "senders", "model", "seed"]
sys.stdout.buffer.write(tensor_bytes({"x": torch.ones(3)}, {name: name for name in names}))
"""


def test_what_is_written_is_read(tmp_path):
    content = tensor_bytes(TENSORS, METADATA)
    (tmp_path / "file").write_bytes(content)
    with safe_open(tmp_path / "file", framework="pt") as file:
        assert file.metadata() == METADATA
    for name, tensor in load(content).items():
        assert torch.equal(tensor, TENSORS[name]) and tensor.dtype == TENSORS[name].dtype
    assert len(load(content)) == 3
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    assert list(json.loads(content[8 : 8 + length])["__metadata__"]) == sorted(METADATA)


def test_numpy_arrays_are_the_same_file():
    plain = {"x": np.arange(4, dtype=np.float32)}
    assert tensor_bytes(plain, METADATA) == tensor_bytes({"x": torch.arange(4.0)}, METADATA)


def test_every_process_writes_the_same_bytes():
    runs = {
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True).stdout for _ in "ab"
    }
    names = ["format", "weights_hash", "senders", "model", "seed"]
    ours = {tensor_bytes({"x": torch.ones(3)}, {name: name for name in names}) for _ in range(20)}
    assert runs == ours
    assert len(ours) == 1
