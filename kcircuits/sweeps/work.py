"""Running one job: discover or reuse the circuit, run the analyses, and store the result."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

from kcircuits.circuit import Circuit
from kcircuits.discovery import Progress, ProgressCallback, Steps
from kcircuits.discovery.checkpoint import CheckpointError
from kcircuits.discovery.parts import PartsError, joined_scores, parts_of, scores_of_part
from kcircuits.discovery.run import attribute, discover, select_circuit
from kcircuits.errors import KCircuitsError
from kcircuits.files.writing import write_atomically
from kcircuits.model.loading import Model
from kcircuits.scores import Scores
from kcircuits.sweeps.analyses import ANALYSES, AnalysisInput
from kcircuits.sweeps.job import Job, Search
from kcircuits.sweeps.store import TIMING, Store
from kcircuits.task import Task

SCORES = "scores.safetensors"


def do_job(
    job: Job, model: Model, store: Store, memory: int, attempt: int, progress: ProgressCallback | None
) -> float:
    """Run a job and store its result.

    Parameters
    ----------
    job, model, store
        The job, its model, and the store of results.
    memory
        Memory budget in bytes: the job's, or less if that was too much.
    attempt
        Number of the attempt, from 1; recorded with the time.
    progress
        Gets the search's progress.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    KCircuitsError
        If the model has changed since the job was made, or the search or an analysis refuses.
    OSError
        If the result cannot be written.
    """
    start = perf_counter()
    _check_weights(job, model)
    circuit = _get_circuit(job.search, model, store, memory, progress)

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
                task = Task.as_found(circuit, job.prompts)
                given = AnalysisInput(model, task, circuit, options, job.seed, memory)
                row |= analysis.run(given, folder)
        _write(folder / "row.json", row)
        time = {
            "seconds": round(perf_counter() - start, 3),
            "search_seconds": circuit.stats["seconds"],
            "attempts": attempt,
            "memory": memory,
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        _write(folder / TIMING, time)

    store.jobs.put(job.key, fill)
    shutil.rmtree(store.scratch_of(job.search.key), ignore_errors=True)
    return perf_counter() - start


def do_part(
    job: Job, part: int, model: Model, store: Store, memory: int, progress: ProgressCallback | None
) -> float:
    """Score one part of a job's prompts, which the job uses later; otherwise as `do_job`."""
    start = perf_counter()
    _check_weights(job, model)
    _score_part(job.search, part, model, store, memory, progress)
    return perf_counter() - start


def _check_weights(job: Job, model: Model) -> None:
    if model.identity["weights_hash"] != job.weights:
        raise KCircuitsError(
            f"the weights of {job.model.source} have changed since the sweep began: start it again"
        )


def _get_circuit(
    search: Search, model: Model, store: Store, memory: int, progress: ProgressCallback | None
) -> Circuit:
    """The circuit of a search: an existing one, or a new one, which is stored for other jobs."""
    kept = store.parts.get(search.key)
    if kept is None:
        circuit = _find_circuit(search, model, store, memory, progress)
        kept = store.parts.put(search.key, lambda folder: circuit.save(folder / "circuit.json"))
    return Circuit.load(kept / "circuit.json")


def _find_circuit(
    search: Search, model: Model, store: Store, memory: int, progress: ProgressCallback | None
) -> Circuit:
    if search.scores_key is None:
        return _search(search, model, store, memory, progress)
    kept = store.parts.get(search.scores_key) or _score(search, model, store, memory, progress)
    scores = Scores.load(kept / SCORES)
    assert search.selection is not None
    return select_circuit(model, search.task, scores, search.selection, memory=memory, seconds=_seconds(kept))


def _search(
    search: Search, model: Model, store: Store, memory: int, progress: ProgressCallback | None
) -> Circuit:
    """The circuit of a method without scores. If the method can resume, it continues an earlier attempt."""

    def run_search(checkpoint: Path | None = None) -> Circuit:
        return discover(
            model, search.task, search.method, memory=memory, progress=progress, checkpoint=checkpoint
        )

    if not search.method.resumes:
        return run_search()
    checkpoint = store.scratch_of(search.key) / f"{search.method.name}.checkpoint"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    try:
        return run_search(checkpoint)
    except CheckpointError:  # damaged, or of another memory or number of threads
        checkpoint.unlink()
        return run_search(checkpoint)


def _score(
    search: Search, model: Model, store: Store, memory: int, progress: ProgressCallback | None
) -> Path:
    """Compute the scores of all edges, and return their folder. Existing scores of parts are used."""
    assert search.scores_key is not None
    if search.score_parts < 2:
        start = perf_counter()
        scores = attribute(model, search.task, search.method, memory=memory, progress=progress)
        return _put_scores(store, search.scores_key, scores, perf_counter() - start)
    try:
        scores, seconds = _score_parts(search, model, store, memory, progress)
    except PartsError:  # some are of other processors, numbers of threads or versions, which may change bits
        _remove_parts(search, store, memory)
        scores, seconds = _score_parts(search, model, store, memory, progress)
    kept = _put_scores(store, search.scores_key, scores, seconds)
    _remove_parts(search, store, memory)
    return kept


def _score_parts(
    search: Search, model: Model, store: Store, memory: int, progress: ProgressCallback | None
) -> tuple[Scores, float]:
    """The sum of the scores of all parts, and the seconds of all parts together."""
    sizes = [len(prompts) for prompts in parts_of(search.task.prompts)]
    places = [
        _score_part(search, part, model, store, memory, _shift_progress(sizes, part, progress))
        for part in range(len(sizes))
    ]
    return joined_scores([Scores.load(place / SCORES) for place in places]), sum(map(_seconds, places))


def _remove_parts(search: Search, store: Store, memory: int) -> None:
    for part in range(search.score_parts):
        shutil.rmtree(store.parts.folder / search.part_key(part, memory), ignore_errors=True)


def _score_part(
    search: Search, part: int, model: Model, store: Store, memory: int, progress: ProgressCallback | None
) -> Path:
    """Compute or find the scores of one part of the prompts, and return their folder."""
    key = search.part_key(part, memory)
    kept = store.parts.get(key)
    if kept is not None:
        return kept
    start = perf_counter()
    scores = scores_of_part(model, search.task, search.method, part, memory=memory, progress=progress)
    return _put_scores(store, key, scores, perf_counter() - start)


def _put_scores(store: Store, key: str, scores: Scores, seconds: float) -> Path:
    def fill(folder: Path) -> None:
        scores.save(folder / SCORES)
        _write(folder / TIMING, {"seconds": round(seconds, 3)})

    return store.parts.put(key, fill)


def _seconds(folder: Path) -> float:
    return float(json.loads((folder / TIMING).read_text())["seconds"])


def _shift_progress(
    sizes: list[int], part: int, progress: ProgressCallback | None
) -> ProgressCallback | None:
    """A callback for one part's progress that reports the progress of all parts; `sizes` in prompts."""
    if progress is None:
        return None
    before = sum(sizes[:part])

    def tell(done: Progress | Steps) -> None:
        assert isinstance(done, Steps)
        runs = done.total // sizes[part]
        progress(Steps(before * runs + done.done, sum(sizes) * runs, done.unit))

    return tell


def _write(path: Path, document: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
