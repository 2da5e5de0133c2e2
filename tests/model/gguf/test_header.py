"""What is refused of a GGUF file's header: anything that claims more than there is."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.model.gguf.header import check_header
from tests.model.gguf.tiny_gguf import TOKENS, write_gguf
from tests.models import build, llama

U32, U64, TEXT, LIST = 4, 10, 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def number(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", U32, value)


def listed(key: str, kind: int, length: int, content: bytes = b"") -> bytes:
    return text(key) + struct.pack("<IIQ", LIST, kind, length) + content


def tensor(name: str = "t", dims: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def file_of(folder: Path, *parts: bytes, entries: int = 0, tensors: int = 0, data: int = 32) -> Path:
    header = b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + b"".join(parts)
    path = folder / "x.gguf"
    path.write_bytes(header + b"\0" * (-len(header) % 32 + data))
    return path


def test_a_good_file(tmp_path):
    model = build(lambda: llama(vocab_size=len(TOKENS)))
    count = check_header(write_gguf(model, tmp_path / "tiny.gguf", quantise=True))
    assert count == sum(parameter.numel() for parameter in model.parameters())


def test_everything_up_to_the_last_byte(tmp_path):
    nested = listed("deep", LIST, 2, struct.pack("<IQBIQ", 0, 1, 7, TEXT, 1) + text("x"))
    path = file_of(tmp_path, number("general.alignment", 32), nested, tensor(), entries=2, tensors=1)
    check_header(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(KCircuitsError, match=r"^\S+x\.gguf is not a whole .*'t' extends beyond the end"):
        check_header(path)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (struct.pack(">IQQ", 3, 0, 0), "it is big-endian; convert it with gguf_convert_endian"),
        (struct.pack("<III", 1, 0, 0), "it has GGUF version 1, not 2 or 3"),
        (struct.pack("<IQQ", 4, 0, 0), "it has GGUF version 4"),
    ],
)
def test_another_byte_order_or_version(tmp_path, start, message):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + start)
    with pytest.raises(KCircuitsError, match=message):
        check_header(path)


@pytest.mark.parametrize(
    ("parts", "counts", "message"),
    [
        ([], {"entries": 2**63}, "has an unknown type|middle of its header"),
        ([], {"tensors": 2**63, "data": 0}, "ends in the middle of its header"),
        ([listed("k", 0, 2**60)], {"entries": 1}, "'k' claims 1152921504606846976 entries"),
        ([listed("k", 0, 1000)], {"entries": 1}, "ends in the middle of its header"),
        ([listed("k", TEXT, 2, text("a"))], {"entries": 1, "data": 0}, "ends in the middle of its header"),
        ([text("k") + struct.pack("<I", LIST) + struct.pack("<IQ", LIST, 1) * 9], {"entries": 1}, "too many"),
        ([text("k") + struct.pack("<I", 99)], {"entries": 1}, "has an unknown type"),
        ([text("k" * 2000)], {"entries": 1}, "a name claims 2000 characters"),
        ([number("general.alignment", 0)], {"entries": 1}, "power of two, got 0"),
        ([number("general.alignment", 33)], {"entries": 1}, "power of two, got 33"),
        ([number("llama.block_count", 2**31)], {"entries": 1}, "0 tensors, too few for 2147483648 layers"),
        ([tensor(dims=(1,) * 5)], {"tensors": 1}, "claims 5 dimensions"),
        ([tensor(kind=999)], {"tensors": 1}, "the unknown type 999"),
        ([tensor(dims=(2**63, 2**63))], {"tensors": 1}, "extends beyond the end"),
        ([tensor(offset=2**63)], {"tensors": 1}, "extends beyond the end"),
    ],
)  # fmt: skip
def test_what_makes_no_sense(parts, counts, message, tmp_path):
    with pytest.raises(KCircuitsError, match=message):
        check_header(file_of(tmp_path, *parts, **counts))


def test_no_file(tmp_path):
    with pytest.raises(KCircuitsError, match="cannot read"):
        check_header(tmp_path / "x.gguf")
