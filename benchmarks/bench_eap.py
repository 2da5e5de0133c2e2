"""Methods that score all edges, compared with plain Hugging Face passes of the same batch, on SmolLM2-135M.

Times are medians, measured alternately with the plain passes in one process, without loading. Memory and
whole-process seconds come from a separate process per method.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from attribution_cases import CASES, ROUNDS
from demo_task import DESCRIPTION, language_task
from machine import RESULTS, write_results
from plain import Plain

import kcircuits
from kcircuits.model.gguf.conversion import convert, demo_file
from kcircuits.task import Task

RESULT = "eap"
COLUMNS = (
    "method", "seconds", "ratio", "ratio_to_embeddings", "process_seconds", "extra_memory_mb", "note",
)  # fmt: skip


def timings(names: list[str], model: kcircuits.Model, task: Task) -> list[dict[str, Any]]:
    """Each round runs both plain passes and then every method once; the first round warms up."""
    plain = Plain(convert(demo_file()), task.prompts)
    to_parameters: list[float] = []
    to_embeddings: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(ROUNDS + 1):
        parameters, embeddings = plain.to_parameters(), plain.to_embeddings()
        if number > 0:
            to_parameters.append(parameters)
            to_embeddings.append(embeddings)
        for name in names:
            if number > 0 and number <= CASES[name].rounds:
                seconds[name].append(CASES[name].seconds(model.spec, task))
            elif number == 0 and CASES[name].rounds > 1:
                CASES[name].seconds(model.spec, task)
    plain_seconds = statistics.median(to_parameters)
    embeddings_seconds = statistics.median(to_embeddings)
    return [
        {
            "method": name,
            "seconds": round(statistics.median(times), 3),
            "runs": len(times),
            "plain_seconds": round(plain_seconds, 3),
            "plain_seconds_to_embeddings": round(embeddings_seconds, 3),
            "ratio": round(statistics.median(times) / plain_seconds, 2),
            "ratio_to_embeddings": round(statistics.median(times) / embeddings_seconds, 2),
            "note": CASES[name].note,
        }
        for name, times in seconds.items()
    ]


def own_process(name: str, threads: int) -> dict[str, Any]:
    """Seconds from start to end of a process that loads the model and runs one method, and its memory."""
    command = [sys.executable, __file__, "--threads", str(threads), "--worker", name]
    start = perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = perf_counter() - start
    return {"process_seconds": round(seconds, 1), **json.loads(done.stdout)}


def work(name: str) -> dict[str, Any]:
    """Peak resident memory of one method, minus the memory of the loaded model and the prompts.

    The maximum of getrusage cannot be reset, and loading may have the higher peak. So the kernel's own peak
    (VmHWM) is reset to the present size before the method runs. The weights are pages of a mapped file, which
    the choice of prompts has already touched, so they are not part of the difference. Freed memory that the
    allocator keeps is returned first, because it would hide memory that the method uses.
    """
    model = kcircuits.load_model("demo")
    task = language_task(model)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    CASES[name].seconds(model.spec, task)
    return {
        "loaded_memory_mb": round(before / 1e6),
        "extra_memory_mb": round((status("VmHWM") - before) / 1e6),
    }


def status(field: str) -> int:
    """A memory counter of the kernel for this process, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def earlier_rows(names: list[str]) -> dict[str, dict[str, Any]]:
    """Results of other methods from an earlier run."""
    path = RESULTS / f"{RESULT}.json"
    if set(names) == CASES.keys() or not path.exists():
        return {}
    return {row["method"]: row for row in json.loads(path.read_text())["rows"]}


def show(rows: list[dict[str, Any]]) -> None:
    cells = [COLUMNS, *(tuple(str(row[column]) for column in COLUMNS) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--methods", nargs="+", choices=CASES, default=list(CASES), metavar="METHOD")
    parser.add_argument("--worker", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.worker:
        json.dump(work(options.worker), sys.stdout)
        return
    model = kcircuits.load_model("demo")
    measured = timings(options.methods, model, language_task(model))
    rows = earlier_rows(options.methods)
    for row in measured:
        rows[row["method"]] = row | own_process(row["method"], options.threads)
    ordered = [rows[name] for name in CASES if name in rows]
    show(ordered)
    results = {"model": "SmolLM2-135M", "task": DESCRIPTION, "rows": ordered}
    print(f"written: {write_results(RESULT, results)}")


if __name__ == "__main__":
    main()
