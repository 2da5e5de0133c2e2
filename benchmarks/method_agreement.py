"""Agreement of each method's scores with the exact effects of edges.

On the small golden models all edges are compared. SmolLM2-135M has 70,651 edges, most of which have almost no
effect, so two samples are drawn with a fixed seed: 1,000 edges uniformly, and 1,000 of the 10 % that all
methods together rank highest by |score| (mean rank). Also measured is the faithfulness of SmolLM2's circuits
of the best edges, on the prompts of the scores. (The golden models have random weights, so a circuit has
nothing to preserve.)
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from agreement import agreement
from demo_task import DESCRIPTION, language_task
from machine import write_results

import kcircuits
from kcircuits.data.metrics import faithfulness
from kcircuits.data.prompts import Prompt
from kcircuits.discovery import exact_scores, method_of
from kcircuits.engine import measure
from kcircuits.model.spec import ModelSpec
from kcircuits.model.transforms import with_kept_positions
from kcircuits.runtime.memory import memory_bytes
from kcircuits.scores.selection import select_sizes
from kcircuits.task import Task

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
SMALL_MODELS = ("gpt2", "llama", "llama_gqa")
SCORERS: dict[str, tuple[str, dict[str, Any]]] = {
    "eap": ("eap", {}),
    "eap+qk_fix": ("eap", {"qk_fix": True}),
    "eap-ig-inputs": ("eap-ig-inputs", {"ig_steps": 5}),
    "eap-ig-inputs+qk_fix": ("eap-ig-inputs", {"ig_steps": 5, "qk_fix": True}),
    "eap-ig-activations": ("eap-ig-activations", {"ig_steps": 5}),
    "clean-corrupted": ("clean-corrupted", {}),
    "relp": ("relp", {}),
    "relp+qk_fix": ("relp", {"qk_fix": True}),
    "ifr": ("ifr", {}),
}
SAMPLE = 1000
TOP_SHARE = 0.1
SEED = 0
SIZES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)

Rows = list[dict[str, Any]]


def all_scores(spec: ModelSpec, task: Task) -> dict[str, np.ndarray]:
    """The score matrix of each method, [S, R]."""
    memory = memory_bytes(None)
    return {
        name: method_of(method, options).scores(spec, task, memory, None)
        for name, (method, options) in SCORERS.items()
    }


def pruned_scores(spec: ModelSpec, task: Task) -> np.ndarray:
    """Probability that edge-pruning leaves each gate open when it keeps half of the edges, [S, R]."""
    found = method_of("edge-pruning", {"top_n": spec.graph.num_edges // 2}).search(
        spec, task, memory_bytes(None), None
    )
    assert found.scores is not None
    return found.scores


def rows(
    model: str, edges: str, scores: Mapping[str, np.ndarray], exact: np.ndarray, mask: np.ndarray
) -> Rows:
    """A row per method for the edges in a mask, [S, R]."""
    return [
        {"model": model, "edges": edges, "number": int(mask.sum()), "method": name}
        | agreement(np.asarray(matrix, dtype=float)[mask], exact[mask])
        for name, matrix in scores.items()
    ]


def circuits(model: str, spec: ModelSpec, task: Task, scores: Mapping[str, np.ndarray]) -> Rows:
    """Faithfulness of each method's circuits, by their share of the graph's edges before pruning."""
    graph, valid = spec.graph, spec.graph.valid
    numbers = [int(size * graph.num_edges) for size in SIZES]
    made: Rows = []
    for name, matrix in scores.items():
        masks = [valid, np.zeros_like(valid), *select_sizes(graph, np.asarray(matrix, dtype=float), numbers)]
        full, empty, *values = measure(spec, task, np.stack(masks), memory_bytes(None))
        row: dict[str, Any] = {"model": model, "method": name}
        for size, value in zip(SIZES, values, strict=True):
            found = faithfulness(full, value, empty)
            assert found is not None
            row[f"{size:.0%}"] = round(found, 3)
        made.append(row)
    return made


def rank_small_model(name: str) -> Rows:
    spec = with_kept_positions(kcircuits.load_model(GOLDEN / name).spec)
    with np.load(GOLDEN / name / "eap_golden.npz") as arrays:
        pairs = zip(*(arrays[key].tolist() for key in ("clean", "corrupt", "labels")), strict=True)
        prompts = tuple(
            Prompt(tuple(clean), answer, tuple(corrupt), wrong) for clean, corrupt, (answer, wrong) in pairs
        )
    task = Task(prompts, "corrupt", "logit-diff")
    scores = all_scores(spec, task) | {"edge-pruning": pruned_scores(spec, task)}
    exact = exact_scores(spec, task, spec.graph.valid, memory_bytes(None))
    return rows(name, "all", scores, exact, spec.graph.valid)


def rank_real_model() -> tuple[Rows, Rows]:
    model = kcircuits.load_model("demo")
    spec, task = model.spec, language_task(model)
    scores = all_scores(spec, task)
    samples = {"uniform": sample(spec.graph.valid), "top 10 %": sample(ranked_first(spec, scores))}
    wanted = np.logical_or(*samples.values())
    exact = exact_scores(spec, task, wanted, memory_bytes(None))
    for name, mask in samples.items():
        sizes = np.abs(exact[mask])
        print(f"SmolLM2-135M, {name}: |effect| median {np.median(sizes):.1e}, greatest {sizes.max():.1e}")
    compared: Rows = []
    for name, mask in samples.items():
        compared += rows("SmolLM2-135M", name, scores, exact, mask)
    return compared, circuits("SmolLM2-135M", spec, task, scores)


def ranked_first(spec: ModelSpec, scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """The edges that all methods together rank highest, bool [S, R]."""
    sizes = pd.DataFrame({name: np.abs(matrix[spec.graph.valid]) for name, matrix in scores.items()})
    mean_rank = sizes.rank().mean(axis=1).to_numpy()
    first = np.zeros_like(spec.graph.valid)
    first[spec.graph.valid] = mean_rank >= np.quantile(mean_rank, 1 - TOP_SHARE)
    return first


def sample(mask: np.ndarray) -> np.ndarray:
    """`SAMPLE` edges of a mask, bool [S, R]."""
    places = np.random.default_rng(SEED).choice(np.flatnonzero(mask), SAMPLE, replace=False)
    chosen = np.zeros_like(mask)
    chosen.flat[places] = True
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    start = perf_counter()
    compared = [row for name in SMALL_MODELS for row in rank_small_model(name)]
    of_real, faithful = rank_real_model()
    compared += of_real
    print(pd.DataFrame(compared).to_string(index=False, na_rep="-"))
    print("\nFaithfulness of circuits of a method's best edges, by their share of the graph's edges")
    print(pd.DataFrame(faithful).to_string(index=False))
    results = {
        "task": {"SmolLM2-135M": DESCRIPTION, "others": "8 golden pairs, corrupt ablation, logit-diff"},
        "seconds": round(perf_counter() - start),
        "rows": compared,
        "faithfulness": faithful,
    }
    print(f"written: {write_results('methods', results)}")


if __name__ == "__main__":
    main()
