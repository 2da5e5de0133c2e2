"""kcircuits compared with other tools, each in its own process, alternately, in one run.

The other tools have a separate environment (`make bench-peers` creates it and runs this file):
TransformerLens, with sequential ACDC on its hooks, and auto-circuit's ACDC and gradients. The results of the
tools are compared before any timing, and a difference stops the benchmark.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from machine import RESULTS, write_results

from kcircuits.model.gguf.conversion import convert, demo_file

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tests/ has the builders of small models

from peers.cases import Case, large_cases, small_cases
from peers.protocol import ROOT, Worker, WorkerError


def run(case: Case, pythons: dict[str, Path], threads: int) -> dict[str, Any]:
    """All rounds of all entrants."""
    print(f"\n{case.title} ({len(case.prompts)} prompts)", flush=True)
    workers: list[Worker] = []
    for entrant in case.entrants:
        print(f"  loading: {entrant.tool}, {entrant.method}", flush=True)
        workers.append(case.start(entrant, pythons, threads))
    pairs = list(zip(case.entrants, workers, strict=True))
    first = {entrant.tool: worker for entrant, worker in reversed(pairs)}
    checked = case.check(first) if case.check else {}
    if checked:
        print(f"  results agree: {checked}", flush=True)
    done: list[list[dict[str, Any]]] = [[] for _ in workers]
    for number in range(case.rounds):
        for entrant, worker, results in zip(case.entrants, workers, done, strict=True):
            results.append(entrant.run(worker, number, case.rounds))
            said = f"{entrant.tool}, {entrant.method}: {_time_text(results[-1])}"
            print(f"  round {number + 1} of {case.rounds}: {said}", flush=True)
    ours = done[0][0]
    rows = [
        {
            "tool": entrant.tool,
            "version": worker.about.get("version"),
            "method": entrant.method,
            "note": entrant.note,
            **summary(results, ours.get("tests")),
            "peak_memory_mib": round(worker.close() / 2**20),
        }
        for entrant, worker, results in zip(case.entrants, workers, done, strict=True)
    ]
    return {
        "model": case.model,
        "task": case.name,
        "prompts": len(case.prompts),
        "tokens": len(case.prompts[0].clean_ids),
        "checked": checked,
        "rows": rows,
    }


def _time_text(result: dict[str, Any]) -> str:
    if "seconds" in result:
        return f"{result['seconds']:.3f} s"
    return f"{statistics.fmean(result['each']):.4f} s a test"


def summary(results: list[dict[str, Any]], tests_of_ours: int | None) -> dict[str, Any]:
    """Median of whole runs; or, for single tests, their mean times the number of all tests."""
    last = results[-1]
    if "seconds" in last:
        known = {name: last[name] for name in ("tests", "kept") if name in last}
        if "edges" in last:
            known["kept"] = len(last["edges"])
        seconds = [result["seconds"] for result in results]
        return {"seconds": statistics.median(seconds), "runs": len(seconds), **known}
    each = [seconds for result in results for seconds in result["each"]]
    tests = last["all_tests"] or tests_of_ours
    assert tests is not None
    mean = statistics.fmean(each)
    return {"seconds": mean * tests, "tests": tests, "measured_tests": len(each), "seconds_per_test": mean}


def show(case: dict[str, Any]) -> None:
    """One line for each entrant, with times as multiples of the first one's."""
    print(f"\n{case['model']}: {case['task']}")
    ours = case["rows"][0]["seconds"]
    for row in case["rows"]:
        counts = f"tests {row.get('tests', '-')}, kept {row.get('kept', '-')}"
        how = f"from {row['measured_tests']} tests" if "measured_tests" in row else f"median of {row['runs']}"
        print(
            f"  {row['tool']:22} {row['method']:24} {row['seconds']:10.3f} s  {row['seconds'] / ours:8.1f}x  "
            f"{row['peak_memory_mib']:6} MiB  {counts}; {how}"
        )


def earlier_cases() -> dict[str, Any]:
    """Results of cases from earlier runs that are not run again."""
    path = RESULTS / "peers.json"
    if not path.exists():
        return {}
    return {f"{case['model']}: {case['task']}": case for case in json.loads(path.read_text())["cases"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers" / "bin" / "python")
    parser.add_argument(
        "--cases",
        type=int,
        nargs="+",
        metavar="N",
        help="Run only these cases, counted from 1; other results are kept.",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.peers.exists():
        raise SystemExit(f"{options.peers} is missing: make bench-peers creates it")
    pythons = {"main": Path(sys.executable), "peers": options.peers}
    start = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        cases = small_cases(Path(folder)) + large_cases(convert(demo_file()))
        results = earlier_cases()
        for number, case in enumerate(cases, start=1):
            if options.cases is None or number in options.cases:
                try:
                    results[case.title] = run(case, pythons, options.threads)
                except WorkerError as error:
                    raise SystemExit(str(error)) from None
    ordered = [results[case.title] for case in cases if case.title in results]
    for measured in ordered:
        show(measured)
    print(f"{perf_counter() - start:.0f} s in all")
    print(f"written: {write_results('peers', {'cases': ordered})}")


if __name__ == "__main__":
    main()
