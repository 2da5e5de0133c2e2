"""The results in a folder, which a report shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcircuits.analysis.comparison.results import Comparison
from kcircuits.analysis.curves.results import Curves
from kcircuits.analysis.hallucination.results import Hallucinations
from kcircuits.analysis.heads.results import HeadReadings
from kcircuits.analysis.in_context.results import InContext
from kcircuits.analysis.knockout.results import Knockout
from kcircuits.analysis.roles.results import Roles
from kcircuits.circuit import Circuit
from kcircuits.display.result import Result
from kcircuits.editing.explanation import Explanation
from kcircuits.editing.report import EditReport
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation import Evaluation
from kcircuits.evaluation.evaluation_json import read_evaluation
from kcircuits.graph.identity import check_same_weights
from kcircuits.sizes import SizeComparison


@dataclass(frozen=True)
class Results:
    """All results of a folder; None where there is no file.

    Parameters
    ----------
    circuit
        The circuit of circuit.json.
    evaluation
        Measures of a circuit.
    evaluated
        The content of evaluation.json, with the settings of the measurement.
    sizes
        Methods over sizes.
    curves, heads, roles, comparison, hallucination, icl, knockout, explain, edits
        The readings in the files with these names.
    """

    circuit: Circuit | None
    evaluation: Evaluation | None = None
    evaluated: dict[str, Any] | None = None
    sizes: SizeComparison | None = None
    curves: Curves | None = None
    heads: HeadReadings | None = None
    roles: Roles | None = None
    comparison: Comparison | None = None
    hallucination: Hallucinations | None = None
    icl: InContext | None = None
    knockout: Knockout | None = None
    explain: Explanation | None = None
    edits: EditReport | None = None

    @property
    def model(self) -> dict[str, Any]:
        """Identity of the model of all results."""
        return next(identity for _, _, identity in self.subjects())

    def subjects(self) -> list[tuple[str, str, dict[str, Any]]]:
        """For each result: its file, its name in a message, and the identity of its model."""
        found: list[tuple[str, str, dict[str, Any]]] = []
        if self.circuit is not None:
            found.append(("circuit", "the circuit was", self.circuit.model))
        if self.evaluation is not None:
            found.append(("evaluation", "the evaluation was", self.evaluation.model))
        if self.sizes is not None:
            found.append(("sizes", "the comparison of sizes was", self.sizes.model))
        for name, (_, subject) in _READINGS.items():
            reading = getattr(self, name)
            if reading is not None:
                found.append((name, subject, reading.model))
        return found


# By the name of the file: the type of its content, and its name in a message.
_READINGS: dict[str, tuple[type[Result], str]] = {
    "curves": (Curves, "the curves were"),
    "heads": (HeadReadings, "the heads were"),
    "roles": (Roles, "the roles were"),
    "comparison": (Comparison, "the comparison of circuits was"),
    "hallucination": (Hallucinations, "the errors were"),
    "icl": (InContext, "the in-context reading was"),
    "knockout": (Knockout, "the effects of the knockout were"),
    "explain": (Explanation, "the explanation of the edit was"),
    "edits": (EditReport, "the measures of edits were"),
}
FILES = tuple(f"{name}.json" for name in ("circuit", "evaluation", "sizes", *_READINGS))


def load_results(folder: str | Path) -> Results:
    """Read all files of results in a folder.

    Raises
    ------
    KCircuitsError
        If there is none, one is invalid, or they belong to different models or circuits.
    """
    folder = Path(folder)
    there = {name for name in FILES if (folder / name).exists()}
    if not there:
        raise KCircuitsError(f"{folder}: nothing to report: the folder has none of {', '.join(FILES)}")
    circuit = Circuit.load(folder / "circuit.json") if "circuit.json" in there else None
    evaluation, evaluated = None, None
    if "evaluation.json" in there:
        evaluated = read_evaluation(folder / "evaluation.json")
        evaluation = Evaluation.from_json(evaluated) if "circuit" in evaluated else None
    readings: dict[str, Any] = {
        name: kind.load(folder / f"{name}.json")
        for name, (kind, _) in _READINGS.items()
        if f"{name}.json" in there
    }
    results = Results(
        circuit,
        evaluation,
        evaluated,
        SizeComparison.load(folder / "sizes.json") if "sizes.json" in there else None,
        **readings,
    )
    _check_belong(folder, results)
    return results


def _check_belong(folder: Path, results: Results) -> None:
    """Check that all results are about one model, and the evaluation about the circuit."""
    subjects = results.subjects()
    if not subjects:  # an evaluation.json that has measured scores alone
        raise KCircuitsError(f"{folder}: nothing to report: evaluation.json does not measure a circuit")
    for name, subject, identity in subjects[1:]:
        try:
            check_same_weights(subject, identity, results.model)
        except KCircuitsError as error:
            raise KCircuitsError(f"{folder / name}.json: {error}") from error
    circuit, evaluation = results.circuit, results.evaluation
    if circuit is not None and evaluation is not None and evaluation.num_edges != len(circuit.edges):
        raise KCircuitsError(
            f"{folder / 'evaluation.json'} measures a circuit of {evaluation.num_edges:,} edges, but "
            f"circuit.json has {len(circuit.edges):,}: evaluate it again"
        )
