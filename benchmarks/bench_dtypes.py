"""How the scores of EAP-IG (5 steps) change when SmolLM2's weights, or its senders, are kept in 16 bits.

What is computed with them is float32 in every case. Differences are to the float32 weights: the largest one
relative to the largest score, the rank correlation of |score|, and what the best 300 edges have in common.
"""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import Any

import numpy as np
import torch
from agreement import spearman
from demo_task import DESCRIPTION, language_task
from machine import write_results

import kcircuits
from kcircuits.planning.memory import weights_bytes
from kcircuits.selection import select_sizes

RUNS = 5
BEST = 300
CASES = [
    (torch.float32, "memory"),
    (torch.bfloat16, "memory"),
    (torch.float16, "memory"),
    (torch.float32, "recomputed"),
    (torch.float32, "bfloat16"),
]
"""Types of the weights, and layouts of the senders."""


def scores_and_seconds(
    model: kcircuits.Model, prompts: tuple[Any, ...], senders: str
) -> tuple[np.ndarray, float]:
    """EAP-IG's scores, and the median of their seconds after a first run."""
    times = []
    for _ in range(RUNS + 1):
        start = perf_counter()
        scores = kcircuits.attribute(model, prompts, "eap-ig-inputs", metric="logit-diff", senders=senders)
        times.append(perf_counter() - start)
    return scores.matrix, statistics.median(times[1:])


def main() -> None:
    rows, exact, prompts = [], None, None
    for dtype, senders in CASES:
        model = kcircuits.load_model("demo", dtype=dtype)
        prompts = prompts or language_task(model).prompts
        scores, seconds = scores_and_seconds(model, prompts, senders)
        exact = scores if exact is None else exact
        graph = model.spec.graph
        ours, theirs = (select_sizes(graph, matrix, [BEST])[0] for matrix in (scores, exact))
        rows.append(
            {
                "weights": str(dtype).removeprefix("torch."),
                "senders": senders,
                "weights_mib": round(weights_bytes(model.spec) / 2**20),
                "seconds": round(seconds, 3),
                "largest_difference": float(np.abs(scores - exact).max() / np.abs(exact).max()),
                "rank_correlation": spearman(np.abs(scores[graph.valid]), np.abs(exact[graph.valid])),
                "best_in_common": float((ours & theirs).sum() / (ours | theirs).sum()),
            }
        )
        print(rows[-1], flush=True)
    print("written:", write_results("dtypes", {"task": DESCRIPTION, "rows": rows}))


if __name__ == "__main__":
    main()
