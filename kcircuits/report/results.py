"""The results in a folder that a report is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcircuits.circuit import Circuit
from kcircuits.errors import KCircuitsError
from kcircuits.evaluate import Evaluation
from kcircuits.evaluate.evaluation_json import evaluation_of, read_evaluation
from kcircuits.identity import check_same_weights
from kcircuits.report.readings import comparison_json, curves_json, heads_json, roles_json
from kcircuits.sizes import SizeComparison


@dataclass(frozen=True)
class Results:
    """What was found, measured and read; None where there is no file.

    Parameters
    ----------
    circuit
        The circuit of circuit.json.
    evaluation
        Its measures.
    evaluated
        What evaluation.json says of how the circuit was measured.
    sizes
        Methods over sizes.
    curves, heads, roles, overlaps
        The documents of curves.json, heads.json, roles.json and comparison.json, whose form was checked.
    """

    circuit: Circuit
    evaluation: Evaluation | None
    evaluated: dict[str, Any]
    sizes: SizeComparison | None
    curves: dict[str, Any] | None = None
    heads: dict[str, Any] | None = None
    roles: dict[str, Any] | None = None
    overlaps: dict[str, Any] | None = None


def load_results(folder: str | Path) -> Results:
    """Read circuit.json, which must be there, and the other files of results, which may.

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
    return Results(
        circuit,
        evaluation,
        evaluated,
        sizes,
        curves=_reading(folder / "curves.json", curves_json.read, "the curves were", circuit),
        heads=_reading(folder / "heads.json", heads_json.read, "the heads were", circuit),
        roles=_reading(folder / "roles.json", roles_json.read, "the roles were", circuit),
        overlaps=comparison_json.read(path) if (path := folder / "comparison.json").exists() else None,
    )


def _reading(
    path: Path, read: Callable[[Path], dict[str, Any]], subject: str, circuit: Circuit
) -> dict[str, Any] | None:
    if not path.exists():
        return None
    document = read(path)
    _check_model(path, subject, document["model"], circuit)
    return document


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
