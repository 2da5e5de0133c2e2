"""Golden numbers of official implementations; README.md says what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN: Path = Path(__file__).resolve().parent


def acdc_golden(name: str) -> Any:
    """The parsed acdc_golden.json of a model."""
    return json.loads((GOLDEN / name / "acdc_golden.json").read_text(encoding="utf-8"))


def eap_golden(name: str) -> dict[str, np.ndarray]:
    """All arrays of a model's eap_golden.npz."""
    with np.load(GOLDEN / name / "eap_golden.npz", allow_pickle=False) as arrays:
        return dict(arrays)
