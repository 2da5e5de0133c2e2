"""Sizes of memory, and what is available."""

from __future__ import annotations

import pytest

from kcircuits.errors import KCircuitsError
from kcircuits.runtime import memory
from kcircuits.runtime.memory import MOST, SHARE, available_memory, memory_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("8GiB", 8 * 2**30),
        ("8gib", 8 * 2**30),
        (" 1.5 KiB ", 1536),
        ("2GB", 2 * 10**9),
        ("512MB", 512 * 10**6),
        ("3B", 3),
        (12345, 12345),
    ],
)
def test_sizes(text, size):
    assert memory_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GiB", "8 gigabytes", "-1", "0", "0.1", "1e3", "8G", "nan", 0, -5, 1.5, True, "9" * 15 + "TB"],
)
def test_sizes_that_make_no_sense(text):
    with pytest.raises(KCircuitsError, match="memory must be a number of bytes or a size such as 8GiB"):
        memory_bytes(text)


@pytest.mark.parametrize(("free", "size"), [(2**30, SHARE * 2**30), (2**40, MOST), (0, 1)])
def test_default(monkeypatch, free, size):
    monkeypatch.setattr(memory, "available_memory", lambda: free)
    assert memory_bytes(None) == size


def test_a_container_may_allow_less(monkeypatch, tmp_path):
    limit, usage = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(memory, "_CGROUP", ((limit, usage),))
    machine = available_memory()
    assert machine > 0
    usage.write_text("1000\n")
    limit.write_text("max\n")
    assert available_memory() > 1000
    limit.write_text("5000\n")
    assert available_memory() == 4000
    limit.write_text("500\n")
    assert available_memory() == 0
