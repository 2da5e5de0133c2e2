"""Time and memory of two processes with one thread each, compared with one process and with Ray actors.

The jobs are ACDC searches on SmolLM2-135M. Times are from the start of the first job to the end of the last,
so that starting processes does not count. Memory is the sum of the proportional set sizes, which counts
shared pages once. The bound is 1.2 times the weights, plus the own memory of each process: the plan of its
job, and Python with torch. The same number of actors of a local Ray cluster runs the same jobs. Their memory
is not measured.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from machine import write_results
from soak import workers_of

import kcircuits
from kcircuits.planning.memory import weights_bytes
from kcircuits.sweeps.forecast import PROCESS
from kcircuits.sweeps.outlook import outlook

RELATIONS = (
    "country-language", "country-capital", "company-product", "landmark-city",
    "adjective-antonym", "adjective-comparative",
)  # fmt: skip


class Memory:
    """The maximum sum of the workers' proportional set sizes, sampled every half second."""

    def __init__(self) -> None:
        self.most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.5):
            self.most = max(self.most, sum(map(pss_of, workers_of(os.getpid()))))


def pss_of(process: int) -> int:
    with suppress(OSError):
        match = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
        return int(match[1]) * 1024 if match else 0
    return 0


def run(document: dict[str, Any], out: Path, workers: int, ray: str | None = None) -> tuple[float, int]:
    """Seconds and bytes of a sweep with processes or actors of one thread."""
    times: list[float] = []
    with Memory() as memory:
        result = kcircuits.sweep(
            document,
            out,
            workers=workers,
            threads=1,
            ray=ray,
            progress=lambda _: times.append(perf_counter()),
        )
    if result.failed:
        raise SystemExit(f"{result.failed} jobs failed, see their errors: {result.table()['error'].unique()}")
    return times[-1] - times[0], memory.most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument(
        "--templates",
        type=int,
        default=4,
        help="Templates of each relation; each is a job. [default: %(default)s]",
    )
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    document: dict[str, Any] = {
        "models": ["demo"],
        "prompts": [
            {"relation": list(RELATIONS), "template": list(range(given.templates)), "top_k": 0, "limit": 1}
        ],
        "methods": [{"method": "acdc", "threshold": given.threshold}],
        "ablations": ["corrupt"],
        "memory": "512MiB",
    }
    weights = weights_bytes(kcircuits.load_model("demo").spec)
    with tempfile.TemporaryDirectory() as folder:
        planned = outlook(document, Path(folder) / "one")
        one, _ = run(document, Path(folder) / "one", 1)
        several, pss = run(document, Path(folder) / "several", given.workers)
        names = ["one", "several"]
        actors = None
        if find_spec("ray") is not None:
            actors, _ = run(document, Path(folder) / "ray", given.workers, ray="local")
            names.append("ray")
        tables = {Path(folder, name, "summary.parquet").read_bytes() for name in names}
    if len(tables) != 1:
        raise SystemExit("the summaries differ")
    own = planned.peak - weights - PROCESS
    results = {
        "model": "SmolLM2-135M",
        "jobs": len(planned.jobs),
        "threshold": given.threshold,
        "workers": given.workers,
        "one_seconds": round(one, 1),
        "several_seconds": round(several, 1),
        "ratio": round(one / several, 2),
        "ray_seconds": None if actors is None else round(actors, 1),
        "ray_ratio": None if actors is None else round(one / actors, 2),
        "weights_mib": round(weights / 2**20),
        "planned_mib": round(own / 2**20),
        "pss_mib": round(pss / 2**20),
        "bound_mib": round((1.2 * weights + given.workers * (own + PROCESS)) / 2**20),
    }
    print("  ".join(f"{name}={value}" for name, value in results.items()))
    print(f"written: {write_results('sweep', results)}")


if __name__ == "__main__":
    main()
