"""How the scores of EAP-IG (5 steps) change with quantised weights of SmolLM2, or senders in bfloat16.

All computation is in float32. Differences are relative to the float32 weights: the largest difference divided
by the largest score, the rank correlation of |score|, and the overlap of the best 300 edges. The file has 4
bits (Q4_1, its vocabulary Q8_0): "float32" are the dequantised weights, "stored" the same numbers as stored
in the file, and "q8" and "q4" round the rounded weights again. Runs alternate, so that a slow period of the
machine affects all rows.
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
from kcircuits.scores.selection import select_sizes

RUNS = 5
BEST = 300
CASES: tuple[tuple[Any, str], ...] = (
    (torch.float32, "memory"),
    (torch.bfloat16, "memory"),
    (torch.float16, "memory"),
    ("stored", "memory"),
    ("q8", "memory"),
    ("q4", "memory"),
    (torch.float32, "recomputed"),
    (torch.float32, "bfloat16"),
)
"""What the weights are kept in, and layouts of the senders."""


def timed_scores(models: list[kcircuits.Model], prompts: tuple[Any, ...]) -> list[tuple[np.ndarray, float]]:
    """EAP-IG's scores in each case, and the median seconds without the first run."""
    scores: list[Any] = [None] * len(CASES)
    times: list[list[float]] = [[] for _ in CASES]
    for _ in range(RUNS + 1):
        for number, (model, (_, senders)) in enumerate(zip(models, CASES, strict=True)):
            start = perf_counter()
            scores[number] = kcircuits.attribute(
                model,
                kcircuits.Task(prompts, "corrupt", metric="logit-diff"),
                kcircuits.EapIg(senders=senders),
            ).matrix
            times[number].append(perf_counter() - start)
    return [(matrix, statistics.median(seconds[1:])) for matrix, seconds in zip(scores, times, strict=True)]


def main() -> None:
    loaded = {dtype: kcircuits.load_model("demo", dtype=dtype) for dtype, _ in CASES}
    models = [loaded[dtype] for dtype, _ in CASES]
    measured = timed_scores(models, language_task(models[0]).prompts)
    exact, rows = measured[0][0], []
    for (dtype, senders), model, (scores, seconds) in zip(CASES, models, measured, strict=True):
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
