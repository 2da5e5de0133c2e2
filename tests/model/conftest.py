"""A model folder to spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import save, tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good folder of a small LLaMA, for a test to spoil."""
    return save(tiny_model("llama_gqa"), tmp_path / "tiny")
