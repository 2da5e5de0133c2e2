"""Worker process for sequential ACDC with TransformerLens hooks (in the peers' environment)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from peers.lens import MaskedRuns, load
from peers.protocol import serve

from tests.discover.naive import Naive

runs: MaskedRuns


def setup(folder: str, prompts: dict[str, Any], ablation: str, threads: int) -> dict[str, Any]:
    """Load the model and hook it for these prompts, token ids of one length."""
    global runs
    torch.set_num_threads(threads)
    model = load(Path(folder), ungroup=False)
    corrupt = torch.tensor(prompts["corrupt"]) if ablation == "corrupt" else None
    runs = MaskedRuns(model, torch.tensor(prompts["clean"]), corrupt, torch.tensor(prompts["answers"]))
    runs.nll(runs.graph.valid)  # warms up
    return {"version": version("transformer-lens"), "full": runs.nll(runs.graph.valid)}


def acdc(threshold: float) -> dict[str, Any]:
    """The whole search, a forward pass per test."""
    start = perf_counter()
    found = Naive(runs.graph, runs.nll, threshold, absolute=False).run()
    return {
        "seconds": perf_counter() - start,
        "tests": found.tests,
        "edges": sorted(f"{sender}->{receiver}" for sender, receiver in found.effects),
        "margin": found.margin,
    }


def tests(edges: list[tuple[int, int]]) -> dict[str, Any]:
    """Seconds and values of tests, each of the full graph without one edge (sender, receiver)."""
    values, seconds = [], []
    for sender, receiver in edges:
        mask: np.ndarray = runs.graph.valid.copy()
        mask[sender, receiver] = False
        start = perf_counter()
        values.append(runs.nll(mask))
        seconds.append(perf_counter() - start)
    return {"seconds": seconds, "values": values}


if __name__ == "__main__":
    serve({"setup": setup, "acdc": acdc, "tests": tests})
