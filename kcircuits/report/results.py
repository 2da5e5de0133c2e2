"""The results in a folder that a report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcircuits.circuit import Circuit
from kcircuits.errors import KCircuitsError
from kcircuits.evaluate import Evaluation
from kcircuits.evaluate.evaluation_json import evaluation_of, read_evaluation
from kcircuits.identity import check_same_weights
from kcircuits.sizes import SizeComparison


@dataclass(frozen=True)
class Results:
    """What was found and measured; None where there is no file.

    `evaluated` is what evaluation.json says of how the circuit was measured.
    """

    circuit: Circuit
    evaluation: Evaluation | None
    evaluated: dict[str, Any]
    sizes: SizeComparison | None


def load_results(folder: str | Path) -> Results:
    """Read circuit.json, which must be there, and evaluation.json and sizes.json, which may.

    Raises
    ------
    KCircuitsError
        If a file is not what it should be, or they belong to different models or circuits.
    """
    folder = Path(folder)
    circuit = Circuit.load(folder / "circuit.json")
    evaluation, evaluated = None, {}
    if (path := folder / "evaluation.json").exists():
        evaluated = read_evaluation(path)
        evaluation = evaluation_of(evaluated)
        if evaluation is not None:
            _check_belongs(path, circuit, evaluation)
    sizes = None
    if (path := folder / "sizes.json").exists():
        sizes = SizeComparison.load(path)
        _check_model(path, "the comparison of sizes was", sizes.model, circuit)
    return Results(circuit, evaluation, evaluated, sizes)


def _check_belongs(path: Path, circuit: Circuit, evaluation: Evaluation) -> None:
    _check_model(path, "the evaluation was", evaluation.model, circuit)
    theirs, ours = evaluation.num_edges, len(circuit.edges)
    if theirs != ours:
        raise KCircuitsError(
            f"{path} measures a circuit of {theirs:,} edges, and circuit.json has {ours:,}: evaluate it anew"
        )


def _check_model(path: Path, subject: str, identity: dict[str, Any], circuit: Circuit) -> None:
    try:
        check_same_weights(subject, identity, circuit.model)
    except KCircuitsError as error:
        raise KCircuitsError(f"{path}: {error}") from error
