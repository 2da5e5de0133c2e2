"""Doing one job: the circuit, made or found again, and what is read off it, into a finished result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

from kcircuits.circuit import Circuit
from kcircuits.discover import Progress, Steps, attribute, discover, scorer_of, select_circuit
from kcircuits.discover.checkpoint import CheckpointError
from kcircuits.errors import KCircuitsError
from kcircuits.files import write_atomically
from kcircuits.model.loading import Model
from kcircuits.scores import Scores
from kcircuits.selection import Selection
from kcircuits.sweep.analyses import ANALYSES, Given
from kcircuits.sweep.job import Job, Search
from kcircuits.sweep.store import Store

Heard = Callable[[Progress | Steps], None]


def do_job(job: Job, model: Model, store: Store, memory: int, attempt: int, heard: Heard | None) -> float:
    """Do a job and put its result on the shelf.

    Parameters
    ----------
    job, model, store
        The job, its model, and where results go.
    memory
        Bytes for what is evaluated together: the job's, or less where that was too much.
    attempt
        Which attempt this is, from 1 on; recorded beside the time.
    heard
        Gets the search's progress.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    KCircuitsError
        If the model is not the one that the job was made for, or the search or an analysis refuses.
    OSError
        If the result cannot be written.
    """
    start = perf_counter()
    if model.identity["weights_hash"] != job.weights:
        raise KCircuitsError(
            f"the weights of {job.model.source} have changed since the sweep began: start it again"
        )
    circuit = _circuit(job.search, model, store, memory, heard)

    def fill(folder: Path) -> None:
        circuit.save(folder / "circuit.json")
        row = job.labels | {
            "key": job.key,
            **{f"metric_{name}": value for name, value in circuit.metric.items()},
            "edges": len(circuit.edges),
            "graph_edges": circuit.graph.num_edges,
            "nodes": len(circuit.nodes),
        }
        for name, options in job.analyses.items():
            analysis = ANALYSES[name]
            if circuit.edges or not analysis.of_edges:
                given = Given(model, job.prompts, circuit, options, job.seed, memory)
                row |= analysis.run(given, folder)
        _write(folder / "row.json", row)
        time = {
            "seconds": round(perf_counter() - start, 3),
            "search_seconds": circuit.stats["seconds"],
            "attempts": attempt,
            "memory": memory,
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        _write(folder / "timing.json", time)

    store.jobs.put(job.key, fill)
    shutil.rmtree(store.scratch_of(job.search.key), ignore_errors=True)
    return perf_counter() - start


def _circuit(search: Search, model: Model, store: Store, memory: int, heard: Heard | None) -> Circuit:
    """The circuit of a search: one that was found before, or a new one, which is kept for other jobs."""
    kept = store.parts.get(search.key)
    if kept is None:
        circuit = _found(search, model, store, memory, heard)
        kept = store.parts.put(search.key, lambda folder: circuit.save(folder / "circuit.json"))
    return Circuit.load(kept / "circuit.json")


def _found(search: Search, model: Model, store: Store, memory: int, heard: Heard | None) -> Circuit:
    if search.scores_key is None:
        return _searched(search, model, store, memory, heard)
    kept = store.parts.get(search.scores_key)
    if kept is None:
        kept = store.parts.put(search.scores_key, lambda folder: _score(search, model, folder, memory, heard))
    scores = Scores.load(kept / "scores.safetensors")
    seconds = json.loads((kept / "timing.json").read_text())["seconds"]
    selection = Selection(**_options(search, of_scorer=False))
    return select_circuit(model, search.prompts, scores, selection, memory=memory, seconds=seconds)


def _searched(search: Search, model: Model, store: Store, memory: int, heard: Heard | None) -> Circuit:
    """The circuit of a method that does not score; ACDC goes on where an earlier attempt was killed."""

    def found(**options: Any) -> Circuit:
        return discover(
            model,
            search.prompts,
            search.method,
            **_how(search, memory, heard),
            **search.options,
            **options,
        )

    if search.method != "acdc":
        return found()
    checkpoint = store.scratch_of(search.key) / "acdc.checkpoint"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    try:
        return found(checkpoint=checkpoint)
    except CheckpointError:  # damaged, or of another memory or number of threads
        checkpoint.unlink()
        return found(checkpoint=checkpoint)


def _score(search: Search, model: Model, folder: Path, memory: int, heard: Heard | None) -> None:
    start = perf_counter()
    scores = attribute(
        model,
        search.prompts,
        search.method,
        **_how(search, memory, heard),
        **_options(search, of_scorer=True),
    )
    scores.save(folder / "scores.safetensors")
    _write(folder / "timing.json", {"seconds": round(perf_counter() - start, 3)})


def _how(search: Search, memory: int, heard: Heard | None) -> dict[str, Any]:
    """What searching and scoring take alike, beside the method's own options."""
    return {
        "ablation": search.ablation,
        "metric": search.metric,
        "memory": memory,
        "progress": heard,
        **search.changes,
    }


def _options(search: Search, *, of_scorer: bool) -> dict[str, Any]:
    """Of a scoring method's options its own, or those of the selection."""
    own = vars(scorer_of(search.method, {}))
    return {name: value for name, value in search.options.items() if (name in own) == of_scorer}


def _write(path: Path, document: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
