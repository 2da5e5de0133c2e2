"""A result of every kind without a model's run: read from the files of tests/golden/results, or made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kcircuits.analysis.comparison.results import Comparison
from kcircuits.analysis.curves.results import Curves
from kcircuits.analysis.hallucination.results import Hallucinations
from kcircuits.analysis.heads.results import HeadReadings
from kcircuits.analysis.in_context.results import InContext
from kcircuits.analysis.knockout.results import Knockout
from kcircuits.analysis.roles.results import Roles
from kcircuits.checking import Comparison as Compared
from kcircuits.checking import Difference, ModelCheck
from kcircuits.circuit import Circuit
from kcircuits.display.result import Result
from kcircuits.editing.explanation import Explanation
from kcircuits.editing.report import EditReport
from kcircuits.scores import Scores
from kcircuits.sizes import SizeComparison
from tests.report.results import TINY, circuit, evaluation

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "results"
KINDS: dict[str, type[Result]] = {
    "circuit": Circuit,
    "sizes": SizeComparison,
    "curves": Curves,
    "heads": HeadReadings,
    "roles": Roles,
    "comparison": Comparison,
    "hallucination": Hallucinations,
    "icl": InContext,
    "knockout": Knockout,
    "explain": Explanation,
    "edits": EditReport,
}
"""By the names of the files that the version before this test wrote."""


def model_check() -> ModelCheck:
    differences = (Difference("In France", 2, 1e-5, 1e-9, True), Difference(None, 8, 2e-5, 0.0, True))
    compared = Compared("Transformers", True, differences, (("a b", (1, 2), (1, 3)),))
    return ModelCheck("tiny", "a folder", {"num_layers": 2}, ("n_layer",), {"name": "metadata"}, compared)


def scores() -> Scores:
    matrix = np.where(TINY.valid, np.arange(TINY.valid.size, dtype=np.float32).reshape(TINY.valid.shape), 0)
    return Scores(TINY, circuit().model, "eap", {}, matrix)


def saved() -> dict[str, Any]:
    """All kinds that have JSON, by name."""
    found: dict[str, Any] = {name: kind.load(GOLDEN / f"{name}.json") for name, kind in KINDS.items()}
    return found | {"evaluation": evaluation(), "check": model_check()}


def every() -> dict[str, Any]:
    return saved() | {"scores": scores()}
