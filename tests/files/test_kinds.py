"""Files that people give as text or JSON, made by the programs that write them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save

from kcircuits.circuit import Circuit
from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import read_text
from kcircuits.files.kinds import HEAD_BYTES, foreign_kind

EDGES = [("input", "m0", 0.5)]


def written(write) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def zipped(stream):
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("edges.txt", "input->m0")


FILES = {
    **{
        f"pickle {protocol}": (pickle.dumps(EDGES, protocol), "a Python pickle, which can run code")
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
    "torch": (written(lambda stream: torch.save({"a": 1}, stream)), "a file of torch.save"),
    "old torch": (
        written(lambda stream: torch.save({"a": 1}, stream, _use_new_zipfile_serialization=False)),
        "a file of torch.save",
    ),
    "zip": (written(zipped), "a zip archive"),
    "gzip": (gzip.compress(b"input->m0"), "a gzip archive: unpack it first (gunzip)"),
    "bzip2": (bz2.compress(b"input->m0"), "a bzip2 archive"),
    "xz": (lzma.compress(b"input->m0"), "an xz archive"),
    "safetensors": (save({"scores": np.zeros((2, 2), dtype=np.float32)}), "a safetensors file"),
    "numpy": (written(lambda stream: np.save(stream, np.zeros(3))), "a NumPy array"),
    "parquet": (pd.DataFrame({"src": ["m0"]}).to_parquet(), "a Parquet table"),
    "gguf": (b"GGUF\x03\x00\x00\x00", "a GGUF model"),
    "utf-16": (json.dumps(EDGES).encode("utf-16"), "UTF-16 text: save it as UTF-8"),
    "png": (b"\x89PNG\r\n\x1a\n", "a picture or a PDF"),
}


def read_prompts_text(path):
    return read_text(path, "prompts file", pipe=True)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_called_what_it_is(tmp_path, kind):
    content, what = FILES[kind]
    (tmp_path / "file").write_bytes(content)
    for read in (Circuit.load, read_prompts_text, lambda path: read_text(path, "circuit")):
        with pytest.raises(KCircuitsError) as error:
            read(tmp_path / "file")
        assert what in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{}", "input->m0", "src,dst\nm0,m1", "PK", "\ufeff[]", "\u0080é", "GIF"]
)
def test_text_is_text(tmp_path, text):
    assert foreign_kind(text.encode()[:HEAD_BYTES]) is None
    (tmp_path / "file").write_text(text, encoding="utf-8")
    assert read_text(tmp_path / "file", "circuit") == text.removeprefix("\ufeff")
    assert read_prompts_text(tmp_path / "file") == text.removeprefix("\ufeff")
