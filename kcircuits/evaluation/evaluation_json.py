"""evaluation.json, read with distrust: only what was measured on each prompt is taken, the rest follows."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from kcircuits.data.metrics import Metric
from kcircuits.errors import KCircuitsError
from kcircuits.evaluation.measures import RunMeasures
from kcircuits.files.documents import is_number, quote, read_document
from kcircuits.task import Ablation

WHAT = "evaluation"
_RUNS = ("full", "circuit", "complement", "empty")
_MEASURES = tuple(field.name for field in fields(RunMeasures))
_COUNTS = {"num_edges": 0, "num_graph_edges": 1, "num_nodes": 0, "seed": 0, "hit_k": 1}
_MOST_RANDOM = 10_000


def read_evaluation(path: str | Path) -> dict[str, Any]:
    """Read an evaluation.json and check its form.

    Returns
    -------
    dict
        The document. It has either no evaluation of a circuit (only scores were measured) or all keys that
        `Evaluation.from_json` needs, each of its type; every number is finite.

    Raises
    ------
    KCircuitsError
        If the file cannot be read or is anything else than this. The message starts with the path.
    """
    return read_document(path, WHAT, _checked)


def _checked(document: object) -> dict[str, Any]:
    if isinstance(document, dict) and "curve" in document and "circuit" not in document:
        return document
    return checked(document)


def fields_of(document: dict[str, Any]) -> dict[str, Any]:
    """The fields of an evaluation in a document that `checked` has passed.

    Means, intervals and faithfulness follow from the prompts' values; the file's own are not looked at.
    """
    runs: dict[str, Any] = {name: _run_of(document[name]) for name in _RUNS}
    rest = {key: document[key] for key in ("model", "ablation", "metric", "fold_value_biases", *_COUNTS)}
    return rest | runs | {"random": tuple(map(_run_of, document["random"]))}


def _run_of(run: dict[str, Any]) -> RunMeasures:
    return RunMeasures.from_json(run)


def checked(document: object) -> dict[str, Any]:
    """The document, with all that `fields_of` needs; raises KCircuitsError if it is anything else."""
    if not isinstance(document, dict):
        raise KCircuitsError(f"not an {WHAT}: expected a JSON object, got {quote(document)}")
    _check(document)
    return document


def _check(document: dict[str, Any]) -> None:
    def wanted(key: str, good: bool, expected: str) -> None:
        if not good:
            raise KCircuitsError(f"not an {WHAT}: {key!r} must be {expected}, got {quote(document.get(key))}")

    wanted("model", isinstance(document.get("model"), dict), "an object")
    ablations, metrics = get_args(Ablation), get_args(Metric)
    wanted("ablation", document.get("ablation") in ablations, f"one of {', '.join(ablations)}")
    wanted("metric", document.get("metric") in metrics, f"one of {', '.join(metrics)}")
    wanted("fold_value_biases", type(document.get("fold_value_biases")) is bool, "true or false")
    for key, least in _COUNTS.items():
        value = document.get(key)
        wanted(key, type(value) is int and value >= least, f"a whole number from {least} on")
    random = document.get("random")
    wanted("random", isinstance(random, list) and len(random) <= _MOST_RANDOM, "a list of runs")
    named = {name: document.get(name) for name in _RUNS}
    runs = {**named, **{f"random {index}": run for index, run in enumerate(random or [])}}
    count = None
    for name, run in runs.items():
        count = check_run(f"the run {name!r}", run, count)


def check_run(what: str, run: object, count: int | None) -> int:
    """Check one run (`RunMeasures.to_json`), on as many prompts as those before it; returns how many."""
    values = run.get("per_prompt") if isinstance(run, dict) else None
    if not isinstance(values, dict):
        raise KCircuitsError(f"{what} must have 'per_prompt' values, got {quote(run)}")
    for measure in _MEASURES:
        given = values.get(measure)
        if not isinstance(given, list) or not given or not all(map(is_number, given)):
            raise KCircuitsError(f"{what}: {measure!r} must be a list of numbers, got {quote(given)}")
        if count is not None and len(given) != count:
            raise KCircuitsError(f"{what}: {measure!r} has {len(given)} prompts, and others have {count}")
        count = len(given)
    assert count is not None  # there are measures
    return count
