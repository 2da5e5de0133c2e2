"""Analyses of the circuits of a sweep, with their options and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcircuits.analysis.curves.reading import layer_curves
from kcircuits.analysis.heads.reading import TOP, read_heads
from kcircuits.analysis.roles.reading import head_roles
from kcircuits.circuit import Circuit
from kcircuits.data.metrics import RANDOM_CIRCUITS
from kcircuits.evaluation import evaluate
from kcircuits.files.documents import is_count, or_none
from kcircuits.files.writing import write_atomically
from kcircuits.model.loading import Model
from kcircuits.task import Task


@dataclass(frozen=True)
class Option:
    """An option's default, a check of its value, and a description of valid values."""

    default: Any
    good: Callable[[object], bool]
    expected: str


@dataclass(frozen=True)
class AnalysisInput:
    """Input of an analysis; `options` are complete."""

    model: Model
    task: Task
    circuit: Circuit
    options: dict[str, Any]
    seed: int
    memory: int


@dataclass(frozen=True)
class Analysis:
    """An analysis.

    Parameters
    ----------
    run
        Runs the analysis, writes FOLDER/NAME.json, and returns columns of the summary.
    options
        Options by name.
    seeded
        Whether the result depends on the seed.
    of_edges
        Whether the analysis needs a circuit with edges.
    needs_subjects
        Whether all prompts need a subject.
    """

    run: Callable[[AnalysisInput, Path], dict[str, Any]]
    options: dict[str, Option]
    seeded: bool
    of_edges: bool = False
    needs_subjects: bool = False


def _evaluate(given: AnalysisInput, folder: Path) -> dict[str, Any]:
    found = evaluate(
        given.model,
        given.task,
        given.circuit,
        random_circuits=given.options["random"],
        seed=given.seed,
        hit_k=given.options["hit_k"],
        memory=given.memory,
    )
    document = found.to_json()
    write_atomically(folder / "evaluation.json", json.dumps(document, indent=2, allow_nan=False) + "\n")
    by_chance = [value for value in found.random_faithfulness if value is not None]
    return {
        "hit_at_10": found.circuit.hit_at_10,
        "full_hit_at_10": found.full.hit_at_10,
        "faithfulness": found.faithfulness,
        "completeness": found.completeness,
        "random_faithfulness": sum(by_chance) / len(by_chance) if by_chance else None,
        "p_value": found.p_value,
    }


def _curves(given: AnalysisInput, folder: Path) -> dict[str, Any]:
    found = layer_curves(given.model, given.task, given.circuit, seed=given.seed, memory=given.memory)
    found.save(folder / "curves.json")
    return {}


def _heads(given: AnalysisInput, folder: Path) -> dict[str, Any]:
    found = read_heads(given.model, given.task, given.circuit, memory=given.memory, **given.options)
    found.save(folder / "heads.json")
    return {}


def _roles(given: AnalysisInput, folder: Path) -> dict[str, Any]:
    found = head_roles(
        given.model,
        given.task,
        given.circuit,
        strongest=given.options["strongest"],
        draws=given.options["random"],
        seed=given.seed,
        memory=given.memory,
    )
    found.save(folder / "roles.json")
    return {}


def _is_positive(value: object) -> bool:
    return is_count(value) and value != 0


_ONE = "a whole number from 1 on"
_STRONGEST = Option(None, or_none(_is_positive), _ONE)
ANALYSES: dict[str, Analysis] = {
    "evaluate": Analysis(
        _evaluate,
        {
            "random": Option(RANDOM_CIRCUITS, is_count, "a whole number from 0 on"),
            "hit_k": Option(10, _is_positive, _ONE),
        },
        seeded=True,
    ),
    "curves": Analysis(_curves, {}, seeded=True),
    "heads": Analysis(
        _heads,
        {
            "strongest": _STRONGEST,
            "top": Option(TOP, _is_positive, _ONE),
            "all_positions": Option(False, lambda value: type(value) is bool, "true or false"),
        },
        seeded=False,
        of_edges=True,
    ),
    "roles": Analysis(
        _roles,
        {"strongest": _STRONGEST, "random": Option(10, _is_positive, _ONE)},
        seeded=True,
        of_edges=True,
        needs_subjects=True,
    ),
}
