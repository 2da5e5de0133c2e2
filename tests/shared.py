"""The folder of shared data beside the checkout; tests that use it are skipped where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED: Path = Path(__file__).resolve().parents[1].parent / "shared"


def shared_path(*parts: str) -> Path:
    """A file or folder under `SHARED`; skips the running test where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared data is absent: {'/'.join(parts)}")
    return path
